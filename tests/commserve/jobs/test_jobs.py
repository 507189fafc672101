"""A job from its due time to its end, in a database, with a clock that a test sets."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from commserve.faults import RequestInvalid
from commserve.jobs.backlog import submit
from commserve.jobs.kinds import Wanted
from commserve.jobs.lifecycle import Failure
from commserve.jobs.pacing import rates
from commserve.jobs.progress import Answer
from commserve.jobs.states import State
from commserve.store.tables import agents, jobs, join_tokens, leases, machines, plans, points, runs, tokens
from media.faults import SessionForeign
from runtime.certificates import new_key, public_der
from runtime.faults import Retry
from tests.commserve.jobs.test_following import SETTINGS, vcenter
from tests.commserve.office import START, Office, machine

DAILY = {"schedule": {"cron": "0 13 * * *"}}
LATER = Failure("media.repository_full", "no space", Retry.LATER)
ELSEWHERE = Failure("vsa.host_gone", "no host", Retry.ELSEWHERE)
SOON = Failure("mediaagent.session_missing", "it was restarted", Retry.SOON)
NEVER = Failure("vsa.image_missing", "no image", Retry.NEVER)


def states(office: Office, **equal: object) -> list[str]:
    return [job.state for job in office.jobs(kind="backup", **equal)]


def due(office: Office, count: int = 1, **plan: object) -> str:
    """A plan with so many machines whose jobs are queued; its id."""
    plan_id = office.protect(count, **{**DAILY, **plan})
    office.look(hours=1)
    return plan_id


def test_a_plan_that_is_due_makes_one_run_and_a_job_for_each_machine(office: Office) -> None:
    plan = due(office, 3)
    office.look(seconds=5)
    assert states(office) == ["QUEUED"] * 3
    (run,) = office.get(f"/runs?plan_id={plan}")["items"]
    assert (run["due_at"], run["state"]) == ("2026-03-02T13:00:00.000000Z", "RUNNING")


def test_a_backup_goes_its_way_and_ends_done(office: Office) -> None:
    plan, vsa = due(office), office.agent()
    (job,) = office.lease(vsa)
    assert (job.state, job.attempts, job.fence) == ("ASSIGNED", 1, 1)
    assert office.report(job, "RUNNING", progress={"done_bytes": 5, "total_bytes": 10}) is Answer.GO_ON
    assert office.job(job.id).state == "RUNNING"
    assert office.report(job, "COMMITTING", sid=0x1A) is Answer.GO_ON
    made = {"recovery_point": "000000001a", "time": "2026-03-02T13:00:07.000000Z", "parent": None, "stored_bytes": 7}
    assert office.report(job, "DONE", result=made) is Answer.GO_ON
    assert office.get(f"/jobs/{job.id}")["state"] == "DONE"
    assert office.get(f"/runs?plan_id={plan}")["items"][0]["state"] == "DONE"
    (point,) = office.get(f"/points?machine_id={job.machine_id}")["items"]
    assert (point["id"], point["stored_bytes"]) == ("000000001a", 7)
    assert office.get(f"/machines/{job.machine_id}")["last_point_at"] == made["time"]


def test_warnings_make_it_done_with_warnings(office: Office) -> None:
    due(office)
    (job,) = office.lease(office.agent())
    office.report(job, "DONE", warnings=["the parent was damaged"])
    assert office.job(job.id).state == "DONE_WITH_WARNINGS"


def test_a_job_is_nobodys_but_its_holders(office: Office) -> None:
    due(office)
    first, second = office.agent(), office.agent()
    (job,) = office.lease(first)
    assert office.lease(second) == []
    right = {"agent_id": first, "assignment_id": job.assignment_id, "fence": job.fence}
    for wrong in ({"agent_id": second}, {"fence": job.fence + 1}, {"assignment_id": "other"}):
        assert office.report(SimpleNamespace(**right | wrong), "DONE") is Answer.STALE
    assert office.job(job.id).state == "ASSIGNED"


def test_a_lease_that_ran_out_goes_elsewhere_and_the_zombie_is_refused(office: Office) -> None:
    due(office)
    first, second = office.agent(), office.agent()
    (zombie,) = office.lease(first)
    office.look(seconds=61)
    assert office.lease(first) == []  # the job avoids whom it was lost at, while there is somebody else
    (again,) = office.lease(second)
    assert (again.id, again.fence, again.attempts) == (zombie.id, 2, 2)
    assert office.report(zombie, "COMMITTING", sid=7) is Answer.STALE
    assert office.report(zombie, "DONE") is Answer.STALE
    assert office.report(again, "DONE") is Answer.GO_ON
    ends = [(lease["fence"], lease["outcome"]) for lease in office.get(f"/jobs/{again.id}/leases")["items"]]
    assert ends == [(1, "QUEUED"), (2, "DONE")]


def test_a_heartbeat_keeps_a_lease_and_names_what_is_lost(office: Office) -> None:
    due(office, 2)
    vsa = office.agent()
    kept, left = office.lease(vsa, 3)
    for _ in range(4):
        office.clock.pass_(seconds=30)
        with office.store.writing() as connection:
            held = [(kept.assignment_id, kept.fence), ("gone", 1)]
            assert office.services.progress.renew(connection, vsa, held, office.clock.moment) == ["gone"]
        office.look()
    assert office.job(kept.id).state == "ASSIGNED"
    assert office.job(left.id).state == "QUEUED"


def test_a_heartbeat_is_no_progress(office: Office) -> None:
    """A read that hangs for ever must end, though its agent is well."""
    due(office)
    vsa = office.agent()
    (job,) = office.lease(vsa)
    office.report(job, "RUNNING", progress={"done_bytes": 1})
    for _ in range(40):
        office.look(seconds=50)
        office.report(job, "RUNNING", progress={"done_bytes": 1})
    after = office.job(job.id)
    assert (after.state, after.fault_code) == ("QUEUED", "commserve.job_stalled")


def test_what_moves_may_take_as_long_as_it_takes(office: Office) -> None:
    due(office)
    (job,) = office.lease(office.agent())
    for number in range(60):
        office.report(job, "RUNNING", progress={"done_bytes": number})
        office.look(seconds=50)
    assert office.job(job.id).state == "RUNNING"


def test_an_agent_that_restarted_gives_back_what_it_held(office: Office) -> None:
    due(office)
    vsa = office.agent()
    (job,) = office.lease(vsa, boot_id="one")
    with office.store.writing() as connection:
        assert office.services.progress.restarted(connection, vsa, "two", office.clock.moment) == 1
    (again,) = office.lease(vsa, boot_id="two")
    assert again.id == job.id
    assert office.report(job, "DONE") is Answer.STALE


def test_a_job_whose_agent_dies_again_and_again_waits_seconds_then_longer(office: Office) -> None:
    """It may be the job that kills it."""
    due(office, limits={"attempts": 4})
    vsa, waits = office.agent(), []
    for boot in range(1, 4):
        (job,) = office.lease(vsa, boot_id=str(boot))
        with office.store.writing() as connection:
            office.services.progress.restarted(connection, vsa, str(boot + 1), office.clock.moment)
        after = office.job(job.id)
        waits.append((after.not_before_at - office.clock.moment).total_seconds())
        office.clock.moment = after.not_before_at
    assert waits == [0, 20, 80]


@pytest.mark.parametrize(("committed", "expected"), [(True, State.DONE_WITH_WARNINGS), (False, State.QUEUED)])
def test_a_commit_whose_agent_was_lost_is_settled_by_the_register(
    office: Office, committed: bool, expected: State
) -> None:
    due(office)
    vsa = office.agent()
    (job,) = office.lease(vsa)
    office.report(job, "COMMITTING", sid=0x1A)
    office.look(seconds=61)
    lost = office.job(job.id)
    assert (lost.state, lost.assignment_id, lost.sid) == ("COMMITTING", None, 0x1A)
    assert office.lease(vsa) == []
    assert office.report(job, "DONE") is Answer.STALE
    (media,) = [agent["id"] for agent in office.all_pages("/agents?role=mediaagent")]
    settling = next(job for job in office.lease(media, 9) if job.id == lost.id)
    office.report(settling, "DONE", result={"committed": committed})
    assert office.job(job.id).state == expected
    if not committed:
        office.clock.pass_(seconds=5)
        (again,) = office.lease(vsa)
        office.report(again, "DONE")
        assert office.job(job.id).state == "DONE"


def test_a_media_agent_that_is_lost_while_it_settles_is_followed_by_another(office: Office) -> None:
    due(office)
    (job,) = office.lease(office.agent())
    office.report(job, "COMMITTING", sid=3)
    office.look(seconds=61)
    (media,) = [agent["id"] for agent in office.all_pages("/agents?role=mediaagent")]
    zombie = next(each for each in office.lease(media, 9) if each.id == job.id)
    office.look(seconds=61)
    office.look(seconds=61)
    again = next(each for each in office.lease(media, 9) if each.id == job.id)
    assert office.report(zombie, "DONE", result={"committed": False}) is Answer.STALE
    office.report(again, "DONE", result={"committed": True})
    assert office.job(job.id).state == "DONE_WITH_WARNINGS"


def test_a_job_whose_agent_named_somebody_elses_session_ends_saying_so(office: Office) -> None:
    due(office)
    (job,) = office.lease(office.agent())
    office.report(job, "COMMITTING", sid=3)
    office.look(seconds=61)
    (media,) = [agent["id"] for agent in office.all_pages("/agents?role=mediaagent")]
    settling = next(each for each in office.lease(media, 9) if each.id == job.id)
    office.report(settling, "FAILED", failure=Failure.of(SessionForeign("session 0000000003: of another job")))
    after = office.job(job.id)
    assert (after.state, after.fault_code, after.role) == ("FAILED", "media.session_foreign", "vsa")


def test_a_commit_that_nobody_can_settle_ends_saying_so(office: Office) -> None:
    due(office)
    (job,) = office.lease(office.agent())
    office.report(job, "COMMITTING", sid=3)
    office.look(seconds=61)
    office.look(days=1, seconds=1)
    after = office.job(job.id)
    assert (after.state, after.fault_code) == ("FAILED", "commserve.outcome_unknown")


@pytest.mark.parametrize(("failure", "expected"), [(LATER, [60, 120]), (SOON, [5, 20])])
def test_a_failure_waits_as_its_cause_asks_longer_each_time_and_is_bounded(
    office: Office, failure: Failure, expected: list[int]
) -> None:
    due(office, limits={"attempts": 3})
    vsa = office.agent()
    waits = []
    for _ in range(2):
        (job,) = office.lease(vsa)
        office.report(job, "FAILED", failure=failure)
        after = office.job(job.id)
        waits.append((after.not_before_at - office.clock.moment).total_seconds())
        assert office.lease(vsa) == []
        office.clock.moment = after.not_before_at
    (job,) = office.lease(vsa)
    office.report(job, "FAILED", failure=failure)
    assert waits == expected
    assert office.get(f"/jobs/{job.id}")["fault"]["code"] == failure.code
    assert office.get(f"/jobs/{job.id}")["state"] == "FAILED"
    assert office.get(f"/machines/{job.machine_id}")["strikes"] == 1


def test_a_failure_that_trying_again_does_not_help_ends_it_at_once(office: Office) -> None:
    due(office)
    (job,) = office.lease(office.agent())
    office.report(job, "FAILED", failure=NEVER)
    assert office.job(job.id).state == "FAILED"


def test_a_failure_elsewhere_avoids_its_agent_while_there_is_another(office: Office) -> None:
    due(office)
    first, second = office.agent(), office.agent()
    (job,) = office.lease(first)
    office.report(job, "FAILED", failure=ELSEWHERE)
    assert office.lease(first) == []
    (job,) = office.lease(second)
    office.report(job, "FAILED", failure=ELSEWHERE)
    office.clock.pass_(minutes=10)
    assert [each.id for each in office.lease(first)] == [job.id]  # nobody is left to prefer


def test_a_returned_job_costs_no_attempt_but_not_for_ever(office: Office) -> None:
    due(office, limits={"attempts": 1})
    vsa = office.agent()
    for _ in range(20):
        (job,) = office.lease(vsa)
        office.report(job, "RETURNED")
        assert office.job(job.id).attempts == 0
    (job,) = office.lease(vsa)
    office.report(job, "RETURNED")
    after = office.job(job.id)
    assert (after.state, after.fault_code) == ("FAILED", "commserve.job_returned")


def test_cancelling_ends_what_waits_at_once_and_what_runs_through_its_agent(office: Office) -> None:
    due(office, 2)
    (running,) = office.lease(office.agent())
    (queued,) = [job for job in office.jobs(kind="backup") if job.id != running.id]
    assert office.post(f"/jobs/{queued.id}/cancel")["state"] == "CANCELLED"
    assert office.post(f"/jobs/{running.id}/cancel")["state"] == "CANCELLING"
    assert office.post(f"/jobs/{running.id}/cancel")["state"] == "CANCELLING"
    assert office.report(running, "RUNNING", progress={"done_bytes": 1}) is Answer.CANCEL
    assert office.report(running, "COMMITTING", sid=3) is Answer.CANCEL
    office.report(running, "CANCELLED")
    found = office.get(f"/jobs/{running.id}")
    assert (found["state"], found["cancelled_by"]) == ("CANCELLED", "root")


def test_cancelling_ends_also_when_the_agent_never_says_so(office: Office) -> None:
    due(office, 2)
    silent, deaf = office.lease(office.agent(), 4)
    for job in (silent, deaf):
        office.post(f"/jobs/{job.id}/cancel")
    for number in range(20):
        office.look(seconds=40)
        office.report(deaf, "RUNNING", progress={"done_bytes": number})
    assert states(office) == ["CANCELLED", "CANCELLED"]


def test_an_agent_that_was_done_before_it_heard_of_the_cancelling_is_believed(office: Office) -> None:
    due(office)
    (job,) = office.lease(office.agent())
    office.post(f"/jobs/{job.id}/cancel")
    office.report(job, "DONE")
    assert office.job(job.id).state == "DONE"


def test_what_commits_cannot_be_cancelled(office: Office) -> None:
    due(office)
    (job,) = office.lease(office.agent())
    office.report(job, "COMMITTING", sid=3)
    answer = office.ask("POST", f"/jobs/{job.id}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "commserve.state_forbids")


def test_a_job_that_nobody_takes_ends_saying_so(office: Office) -> None:
    due(office)
    office.look(days=7, seconds=1)
    job = office.jobs(kind="backup")[0]
    assert (job.state, job.fault_code) == ("FAILED", "commserve.job_not_taken")


def revoked(office: Office, agent_id: str) -> str:
    office.post(f"/agents/{agent_id}/revoke")
    return str(office.get(f"/agents/{agent_id}")["name"])


def outcome(office: Office, job_id: str) -> tuple[str, str, str]:
    job = office.job(job_id)
    return job.state, job.fault_code, job.fault_message


def test_a_job_whose_every_agent_is_revoked_fails_at_once_and_names_them(office: Office) -> None:
    first, second, other = (office.agent("vsa", name) for name in ("v1", "v2", "elsewhere"))
    lab = office.hypervisor(agents=[first, second])
    discovery = office.post(f"/hypervisors/{lab}/discover")["id"]
    revoked(office, first)
    office.post(f"/agents/{second}/drain")
    office.look(seconds=5)
    assert outcome(office, discovery)[0] == "QUEUED", "who drains comes back"
    revoked(office, second)
    office.look(seconds=5)
    lost = "hypervisor lab: every VSA that reaches it is revoked: v1, v2"
    assert outcome(office, discovery) == ("FAILED", "commserve.no_agent", lost)
    anywhere = office.hypervisor("anywhere")
    discovery = office.post(f"/hypervisors/{anywhere}/discover")["id"]
    office.look(seconds=5)
    assert outcome(office, discovery)[0] == "QUEUED"
    revoked(office, other)
    office.look(seconds=5)
    assert outcome(office, discovery)[1:] == ("commserve.no_agent", "every vsa is revoked: elsewhere, v1, v2")


def test_a_backup_into_a_pool_that_nobody_keeps_any_more_fails_at_once(office: Office) -> None:
    due(office)
    office.agent()
    (media,) = office.get("/agents?role=mediaagent")["items"]
    office.look(seconds=5)
    assert states(office) == ["QUEUED"]
    revoked(office, media["id"])
    office.look(seconds=5)
    (job,) = office.jobs(kind="backup")
    assert job.fault_code == "commserve.no_agent"
    assert f"every MediaAgent that keeps it is revoked: {media['name']}" in job.fault_message


def test_what_ended_is_forgotten_after_its_time_with_its_leases_and_run(office: Office) -> None:
    plan = due(office)
    (old,) = office.lease(office.agent())
    office.report(old, "DONE")
    office.look(days=89)
    assert office.job(old.id).state == "DONE"
    waiting = [job.id for job in office.jobs(kind="backup", state="QUEUED")]
    assert waiting
    office.look(days=1, minutes=1)
    kept = {job.id for job in office.jobs()}
    assert old.id not in kept
    with office.store.reading() as connection:
        assert connection.execute(sa.select(leases.c.job_id).where(leases.c.job_id == old.id)).first() is None
        began = connection.execute(sa.select(sa.func.min(runs.c.created_at)).where(runs.c.plan_id == plan)).scalar()
    assert began > START.replace(hour=13), "the first run is forgotten too"


def test_limits_of_agents_and_pools_bind_restores_and_those_of_plans_do_not(office: Office) -> None:
    plan = office.protect(1, schedule={"cron": ""}, limits={"bandwidth": [{"bytes_per_second": 100}]})
    (found,) = office.all_pages("/machines")
    vsa, pool = office.agent(), office.get(f"/plans/{plan}")["pool_id"]
    point = {"pool_id": pool, "id": "0000000001", "machine_id": found["id"], "time": office.clock.moment}
    with office.store.writing() as connection:
        connection.execute(sa.insert(points).values(**point))
    office.post(f"/machines/{found['id']}/backup")
    office.post("/restores", {"pool_id": pool, "point": "0000000001", "directory": "/restored"})
    job_by_kind = {job.kind: job.id for job in office.lease(vsa, 8)}

    def shares() -> tuple[int, int]:
        with office.store.reading() as connection:
            found = rates(connection, office.clock.moment)
        return found[job_by_kind["backup"]], found[job_by_kind["restore"]]

    assert shares() == (100, 0)
    office.put(f"/agents/{vsa}", {"bytes_per_second": 1000})
    assert shares() == (100, 900), "what the plan leaves of it is the restore's"
    office.put(f"/pools/{pool}", {"name": "main", "bytes_per_second": 300})
    assert shares() == (100, 200)


def test_tokens_that_ended_are_forgotten_with_the_jobs(office: Office) -> None:
    office.post("/users", {"name": "ann", "password": "correct horse battery"})
    office.client.post("/api/v1/login", json={"name": "ann", "password": "correct horse battery"})
    lasting = office.post("/tokens", {"name": "lasting"})["id"]
    office.post("/join-tokens", {"role": "vsa", "name": "v"})
    used = office.post("/join-tokens", {"role": "vsa", "name": "w"})["id"]
    with office.store.writing() as connection:
        connection.execute(sa.update(join_tokens).where(join_tokens.c.id == used).values(used_at=office.clock.moment))

    def names() -> tuple[set[str], set[str]]:
        with office.store.reading() as connection:
            people = set(connection.execute(sa.select(tokens.c.name)).scalars())
            return people, set(connection.execute(sa.select(join_tokens.c.name)).scalars())

    everything = {"test", "login", "lasting"}, {"v", "w"}
    assert names() == everything
    office.look(days=90)
    assert names() == everything, "until then they are there to say that they ended"
    office.look(hours=13)
    assert names() == ({"test", "lasting"}, set())
    assert lasting in {token["id"] for token in office.all_pages("/tokens")}


def test_a_job_that_cannot_be_handled_stops_no_other(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a kind that only a later version knows, here; whatever it is, the others lose their leases."""
    office.protect(3, schedule={"cron": ""})
    for found in office.all_pages("/machines"):
        office.post(f"/machines/{found['id']}/backup")
    vsa = office.agent()
    held = office.lease(vsa, 8)
    assert len(held) == 3
    bad = min(held, key=lambda job: job.id)
    with office.store.writing() as connection:
        strange = sa.update(jobs).where(jobs.c.id == bad.id)
        connection.execute(strange.values(state="CANCELLING", cancel_at=START, kind="of tomorrow"))
    office.look(minutes=2)
    states = {job.id: job.state for job in office.jobs(role="vsa") if job.machine_id}
    assert states.pop(bad.id) == "CANCELLING", "and what was done for it is undone"
    assert set(states.values()) == {"QUEUED"}
    assert bad.id in capsys.readouterr().out


def test_an_agent_that_restarted_gives_back_what_can_be_given_back(office: Office) -> None:
    office.protect(2, schedule={"cron": ""})
    for found in office.all_pages("/machines"):
        office.post(f"/machines/{found['id']}/backup")
    vsa = office.agent()
    bad, good = sorted(office.lease(vsa, 8), key=lambda job: job.id)
    with office.store.writing() as connection:
        strange = sa.update(jobs).where(jobs.c.id == bad.id)
        connection.execute(strange.values(state="CANCELLING", cancel_at=START, kind="of tomorrow"))
        assert office.services.progress.restarted(connection, vsa, "another boot", office.clock.moment) == 1
    assert (office.job(bad.id).state, office.job(good.id).state) == ("CANCELLING", "QUEUED")


def test_a_due_time_that_overlaps_coalesces(office: Office) -> None:
    plan = due(office, 2)
    (job,) = office.lease(office.agent())
    office.report(job, "DONE")
    office.look(days=1)
    assert sorted(states(office)) == ["DONE", "QUEUED", "QUEUED"]
    newest = office.get(f"/runs?plan_id={plan}")["items"][0]
    assert newest["coalesced"] == 1


def test_a_machine_that_a_restore_makes_or_overwrites_is_not_backed_up_meanwhile(office: Office) -> None:
    plan = office.protect(3, schedule={"cron": ""})
    new, old, other = office.all_pages("/machines")
    lab, now = new["hypervisor_id"], office.clock.moment
    wanted = [Wanted("restore", f"restore:{lab}:{what}", now, now) for what in (new["name"], old["id"])]
    with office.store.writing() as connection:
        making, _ = submit(connection, office.services.ids, wanted, now)
    office.post(f"/plans/{plan}/run")
    assert [job.machine_id for job in office.jobs(kind="backup")] == [other["id"]]
    office.post(f"/jobs/{making}/cancel")
    office.clock.pass_(seconds=1)
    office.post(f"/plans/{plan}/run")
    assert {job.machine_id for job in office.jobs(kind="backup")} == {new["id"], other["id"]}


def test_a_run_with_failures_is_partial_and_one_without_machines_is_empty(office: Office) -> None:
    plan = due(office, 2)
    empty = office.protect(0, **DAILY)
    good, bad = office.lease(office.agent(), 4)
    office.report(good, "DONE")
    office.report(bad, "FAILED", failure=NEVER)
    office.look(days=1)
    assert [run["state"] for run in office.get(f"/runs?plan_id={plan}")["items"]] == ["RUNNING", "PARTIAL"]
    assert [run["state"] for run in office.get(f"/runs?plan_id={empty}")["items"]] == ["EMPTY"]


def test_two_schedulers_start_a_run_once(office: Office) -> None:
    plan = office.protect(1, **DAILY)
    with office.store.writing() as connection:
        row = connection.execute(sa.select(plans).where(plans.c.id == plan)).one()
    office.look(hours=1)
    with office.store.writing() as connection:  # the other one looked when the first did
        connection.execute(sa.update(plans).values(looked_at=row.looked_at, next_due_at=row.next_due_at))
    office.look()
    with office.store.reading() as connection:
        assert len(connection.execute(sa.select(runs)).all()) == 1


def test_a_clock_that_went_back_starts_no_run_twice_and_misses_none(office: Office) -> None:
    due(office)
    vsa = office.agent()
    (job,) = office.lease(vsa)
    office.report(job, "DONE")
    office.look(hours=-12)
    assert states(office) == ["DONE"]
    for _ in range(36 * 2):
        office.look(minutes=30)
    with office.store.reading() as connection:
        instants = connection.execute(sa.select(runs.c.due_at).order_by(runs.c.due_at)).scalars().all()
    assert [instant.isoformat() for instant in instants] == ["2026-03-02T13:00:00+00:00", "2026-03-03T13:00:00+00:00"]


def test_a_clock_that_went_back_makes_no_lease_longer(office: Office) -> None:
    due(office)
    (job,) = office.lease(office.agent())
    office.look(days=-30)
    office.look(seconds=61)
    assert office.job(job.id).state in ("QUEUED", "FAILED")


def test_nothing_starts_outside_the_window_and_what_runs_is_finished(office: Office) -> None:
    window = {"schedule": {"cron": "0 13 * * *", "windows": [{"start": "13:00", "end": "14:00"}]}}
    due(office, 2, **window)
    vsa = office.agent()
    (job,) = office.lease(vsa)
    office.clock.pass_(hours=1)
    assert office.lease(vsa) == []
    assert office.report(job, "RUNNING", progress={"done_bytes": 1}) is Answer.GO_ON
    office.report(job, "DONE")
    assert office.job(job.id).state == "DONE"
    office.clock.pass_(hours=23)
    assert len(office.lease(vsa)) == 1


def test_a_backup_that_somebody_asks_for_starts_outside_the_window(office: Office) -> None:
    office.protect(1, schedule={"cron": "", "windows": [{"start": "01:00", "end": "02:00"}]})
    (found,) = office.all_pages("/machines")
    made = office.post(f"/machines/{found['id']}/backup")
    assert [job.id for job in office.lease(office.agent())] == [made["id"]]
    again = office.ask("POST", f"/machines/{found['id']}/backup")
    assert (again.status_code, again.json()["code"]) == (409, "commserve.job_active")


@pytest.mark.parametrize("change", [{"excluded_until": START.replace(year=2030)}, {"protectable": False}])
def test_a_machine_that_is_left_out_gets_no_job(office: Office, change: dict[str, object]) -> None:
    office.protect(1, **DAILY)
    with office.store.writing() as connection:
        connection.execute(sa.update(machines).values(**change))
    office.look(hours=1)
    assert states(office) == []


def test_a_failed_job_is_tried_again_as_a_new_one(office: Office) -> None:
    due(office)
    (job,) = office.lease(office.agent())
    assert office.ask("POST", f"/jobs/{job.id}/retry").status_code == 409
    office.report(job, "FAILED", failure=NEVER)
    again = office.post(f"/jobs/{job.id}/retry")
    assert again["id"] != job.id
    assert (again["state"], again["machine_id"], again["arguments"]) == ("QUEUED", job.machine_id, job.arguments)


def test_hypervisors_are_discovered_at_once_and_then_now_and_then(office: Office) -> None:
    lab = office.hypervisor(discover_minutes=15)
    office.look()
    (job,) = office.lease(office.agent())
    assert (job.kind, job.hypervisor_id) == ("discover", lab)
    office.discover(lab, machine("web"))
    office.report(job, "DONE")
    office.look(minutes=14)
    assert len(office.jobs(kind="discover")) == 1
    office.look(minutes=2)
    assert len(office.jobs(kind="discover")) == 2


def test_a_hypervisor_with_agents_is_theirs_alone(office: Office) -> None:
    bound, other = office.agent(), office.agent()
    office.hypervisor(agents=[bound])
    office.look()
    assert office.lease(other) == []
    assert len(office.lease(bound)) == 1


def test_draining_and_revoked_agents_get_nothing(office: Office) -> None:
    due(office)
    vsa = office.agent()
    office.post(f"/agents/{vsa}/drain")
    assert office.lease(vsa) == []
    office.post(f"/agents/{vsa}/resume")
    (job,) = office.lease(vsa)
    office.post(f"/agents/{vsa}/revoke")
    assert office.job(job.id).state == "QUEUED"
    assert office.lease(vsa) == []
    assert office.ask("POST", f"/agents/{vsa}/resume").status_code == 409


def test_what_retention_lets_go_is_expired_by_a_media_agent_and_never_by_a_vsa(office: Office) -> None:
    plan = office.protect(1, schedule={"cron": ""}, retention={"daily": 2, "floor": 1})
    pool = office.get(f"/plans/{plan}")["pool_id"]
    (found,) = office.all_pages("/machines")
    with office.store.writing() as connection:
        for day in range(4):
            time = START.replace(day=day + 1, month=2)
            row = {"pool_id": pool, "id": f"{day:010x}", "machine_id": found["id"], "time": time}
            connection.execute(sa.insert(points).values(**row))
        connection.exec_driver_sql("UPDATE pools SET read_at = 0")
    office.clock.moment = START.replace(month=2, day=5)
    office.look()
    assert office.jobs(kind="expire") == []  # a catalog that is a day old decides nothing
    with office.store.writing() as connection:
        connection.execute(sa.text("UPDATE pools SET read_at = (SELECT looked_at FROM plans)"))
    office.look(hours=1)
    assert "expire" not in [job.kind for job in office.lease(office.agent(), 9)]
    (media,) = [agent["id"] for agent in office.all_pages("/agents?role=mediaagent")]
    (job,) = [job for job in office.lease(media, 9) if job.kind == "expire"]
    assert job.arguments["points"] == ["0000000000", "0000000001"]
    office.report(job, "DONE")
    assert [point["id"] for point in office.all_pages("/points")] == ["0000000003", "0000000002"]


def test_only_a_backup_commits(office: Office) -> None:
    agent = office.agent("mediaagent")
    office.post(f"/pools/{office.pool(agent=agent)}/verify", {})
    job = office.lease(agent)[0]
    with pytest.raises(RequestInvalid, match="COMMITTING"):
        office.report(job, "COMMITTING", sid=5)
    office.look(minutes=10)
    assert office.job(job.id).state == "QUEUED"


def test_what_a_host_and_a_datastore_bear_is_counted_over_all_agents(office: Office) -> None:
    first, second, media = office.agent(), office.agent(name="second"), office.agent("mediaagent")
    plan = office.plan("gold", pool_id=office.pool("pool", media))
    key = vcenter(office, first)
    settings = {**SETTINGS, "limits": {"machines_per_host": 2, "machines_per_datastore": 1}}
    body = {"name": "vc1", "kind": "vcenter", "settings": settings, "agents": [first, second], "concurrency": 0}
    with office.store.writing() as connection:
        sealing_key = public_der(new_key().public_key())
        connection.execute(sa.update(agents).where(agents.c.id == second).values(sealing_key=sealing_key))
    office.put(f"/hypervisors/{key}", {**body, "secret": "a password"})
    office.rule("all", plan, names=["*"])
    places = [("h1", "d1"), ("h1", "d2"), ("h1", "d3"), ("h2", "d1"), ("h2", "d4")]
    found = [machine(f"{host}-{store}", host=host, datastores=[store]) for host, store in places]
    office.discover(key, *found)
    for each in found:
        office.post(f"/machines/{each['id']}/backup")

    def backups(agent: str) -> list[str]:
        return [job.machine_name for job in office.lease(agent, 9) if job.kind == "backup"]

    assert backups(first) == ["h1-d1", "h1-d2", "h2-d4"]
    assert backups(second) == []
    (job,) = [job for job in office.jobs(kind="backup") if job.machine_name == "h1-d1"]
    office.report(job, "DONE", result={})
    assert backups(second) == ["h1-d3", "h2-d1"]
