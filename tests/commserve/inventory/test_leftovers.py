"""What dead work left at machines: who decides that it may go, when, and what people hear of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from commserve.inventory import leftovers, machines
from commserve.jobs.backlog import submit_one
from commserve.jobs.kinds import Wanted
from commserve.moments import text_of
from tests.commserve.jobs.test_following import vcenter
from tests.commserve.office import Office, machine


def left(office: Office, job: Any, **more: Any) -> dict[str, Any]:
    """As a discovery tells a snapshot of a lease."""
    snapshot = {"job": job.id, "fence": job.fence, "taken_at": text_of(office.clock.moment)}
    return {"snapshots": [snapshot], "consolidation_needed": False, "restoring": "", **more}


def backing_up(office: Office) -> tuple[str, str, Any]:
    """A VSA that holds the backup of `web`; its hypervisor and the job."""
    vsa, media = office.agent(), office.agent("mediaagent")
    plan = office.plan("gold", pool_id=office.pool("pool", media))
    lab = office.hypervisor()
    office.rule("all", plan, names=["*"])
    office.discover(lab, machine("web"))
    office.post("/machines/id-web/backup")
    (job,) = [each for each in office.lease(vsa, 4) if each.kind == "backup"]
    return vsa, lab, job


def cleanings(office: Office) -> list[Any]:
    return office.jobs(kind="clean")


def test_a_snapshot_of_a_lease_that_goes_on_stays_and_goes_once_it_is_over_for_certain(office: Office) -> None:
    vsa, lab, job = backing_up(office)
    office.discover(lab, machine("web", leftovers=left(office, job)))
    office.look()
    assert cleanings(office) == []
    office.look(minutes=2)  # the agent was silent: its lease is lost, and whether it stopped by itself nobody knows
    office.ask("POST", f"/jobs/{job.id}/cancel")
    office.look()
    assert cleanings(office) == []
    office.look(minutes=2)
    (found,) = cleanings(office)
    assert (found.machine_id, found.hypervisor_id, found.arguments) == ("id-web", lab, {"half_made_by": ""})
    office.look()
    assert len(cleanings(office)) == 1
    (found,) = [each for each in office.lease(vsa, 4) if each.kind == "clean"]
    office.report(found, "DONE", result={"snapshots_removed": 1})
    assert office.get("/machines/id-web")["leftovers"] == {}


def test_nothing_is_cleaned_while_the_machine_is_worked_on_and_a_failure_waits_an_hour(office: Office) -> None:
    vsa, lab, job = backing_up(office)
    office.report(job, "DONE", result={})
    office.discover(lab, machine("web", leftovers=left(office, job)))
    office.post("/machines/id-web/backup")
    office.look()
    assert cleanings(office) == []
    (second,) = [each for each in office.lease(vsa, 4) if each.kind == "backup"]
    office.report(second, "DONE", result={})
    office.look()
    (found,) = [each for each in office.lease(vsa, 4) if each.kind == "clean"]
    office.report(found, "DONE", warnings=["a snapshot could not be removed"])
    assert office.get("/machines/id-web")["leftovers"]["snapshots"]
    office.look(minutes=50)
    assert len(cleanings(office)) == 1
    office.look(minutes=11)
    assert len(cleanings(office)) == 2


def test_consolidation_is_our_business_only_where_we_had_snapshots(office: Office) -> None:
    _, lab, job = backing_up(office)
    needs = left(office, job, snapshots=[], consolidation_needed=True)
    office.discover(lab, machine("web"), machine("foreign", leftovers=needs))
    office.look()
    assert cleanings(office) == []


def test_a_snapshot_of_a_lease_that_nobody_knows_stays_and_is_told(office: Office) -> None:
    vsa = office.agent()
    key = vcenter(office, vsa)
    unknown = {"job": "of another life", "fence": 3, "taken_at": text_of(office.clock.moment)}
    office.discover(
        key, machine("web", leftovers={"snapshots": [unknown], "consolidation_needed": True, "restoring": ""})
    )
    office.look()
    assert cleanings(office) == []
    with office.store.reading() as connection:
        (words,) = leftovers.told(connection, office.services.progress, key, office.clock.moment)
    assert words.startswith("machine web: a snapshot of job of another life, lease 3 is left")
    refused = office.ask("POST", "/machines/id-web/clean", {"half_made": True})
    assert (refused.status_code, "half-made" in refused.text) == (409, True)


def test_a_watch_says_nothing_of_what_is_left_and_changes_nothing_of_it(office: Office) -> None:
    _, lab, job = backing_up(office)
    office.discover(lab, machine("web", leftovers=left(office, job)))
    with office.store.writing() as connection:
        machines.change(connection, lab, [machine("web", host="esx2")], [], office.clock.moment)
    shown = office.get("/machines/id-web")
    assert (shown["host"], shown["leftovers"]["snapshots"][0]["job"]) == ("esx2", job.id)
    office.discover(lab)
    assert office.get("/machines/id-web")["leftovers"] == {}


@pytest.mark.parametrize(("how", "status"), [("new", 201), ("in_place", 409)])
def test_only_a_machine_that_a_restore_made_and_that_is_over_can_be_deleted(
    office: Office, how: str, status: int
) -> None:
    vsa, media = office.agent(), office.agent("mediaagent")
    lab = vcenter(office, vsa)
    restore = restoring(office, lab, office.pool("pool", media), how)
    half_made = {"snapshots": [], "consolidation_needed": False, "restoring": restore.id}
    office.discover(lab, machine("web", leftovers=half_made))
    running = office.ask("POST", "/machines/id-web/clean", {"half_made": True})
    assert running.status_code == 409
    (held,) = [each for each in office.lease(vsa, 4) if each.kind == "restore"]
    office.report(held, "FAILED")
    while office.job(restore.id).ended_at is None:
        office.clock.pass_(minutes=31)
        (held,) = [each for each in office.lease(vsa, 4) if each.kind == "restore"]
        office.report(held, "FAILED")
    office.clock.moment += timedelta(minutes=5)
    asked = office.ask("POST", "/machines/id-web/clean", {"half_made": True})
    assert asked.status_code == status, asked.text
    assert [job.arguments["half_made_by"] for job in cleanings(office)] == [restore.id] * (status == 201)


def restoring(office: Office, hypervisor_id: str, pool_id: str, how: str) -> Any:
    with office.store.writing() as connection:
        wanted = Wanted(
            kind="restore",
            subject="restore:1",
            due_at=office.clock.moment,
            deadline_at=office.clock.moment,
            hypervisor_id=hypervisor_id,
            pool_id=pool_id,
            arguments={"machine": {"how": how}},
        )
        key = submit_one(connection, office.services.ids, wanted, office.clock.moment)
    return office.job(key)
