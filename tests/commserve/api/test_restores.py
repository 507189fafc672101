"""Who may restore what to where, and who may have what went wrong done again."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from commserve.access.roles import EVERYTHING, Permission, Scope
from commserve.jobs.lifecycle import Failure
from commserve.store.tables import jobs, machines, points
from runtime.faults import Retry
from tests.commserve.jobs.test_following import vcenter
from tests.commserve.office import Office, machine

NEVER = Failure("vsa.image_missing", "no image", Retry.NEVER)
POINT, OTHERS = "0000000001", "0000000002"


class Two:
    """Two hypervisors, each with a VSA of its own, a machine, a plan, a rule and a point."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.media = office.agent("mediaagent")
        self.pool = office.pool("main", self.media)
        self.vsas, self.labs, self.plans, self.rules = [], [], [], []
        for name, point in (("one", POINT), ("two", OTHERS)):
            self.vsas.append(office.agent("vsa", name))
            self.labs.append(office.hypervisor(name, agents=[self.vsas[-1]]))
            self.plans.append(office.plan(name, pool_id=self.pool, schedule={"cron": ""}))
            self.rules.append(office.rule(name, self.plans[-1], names=[name]))
            office.discover(self.labs[-1], machine(name))
            row = {"pool_id": self.pool, "id": point, "machine_id": f"id-{name}", "time": office.clock.moment}
            with office.store.writing() as connection:
                connection.execute(sa.insert(points).values(**row))

    def operators(self) -> dict[str, str]:
        """Everybody who is bound to a part of the first; tokens by kind of scope."""
        found = {"hypervisor": self.labs[0], "plan": self.plans[0], "group": self.rules[0]}
        return {kind: self.office.person(kind, "operator", Scope(kind, key)) for kind, key in found.items()}

    def asked(self, token: str | None = None, **other: Any) -> Any:
        body = {"pool_id": self.pool, "point": POINT, "directory": f"/restored/{len(self.office.jobs())}", **other}
        return self.office.ask("POST", "/restores", body, token)

    def failed(self, **other: Any) -> str:
        """A restore that the administrator asked for, and that failed; its id."""
        answer = self.asked(**other)
        assert answer.status_code == 201, answer.text
        for vsa in self.vsas:
            for job in self.office.lease(vsa, 8):
                self.office.report(job, "FAILED", failure=NEVER)
        key = str(answer.json()["id"])
        assert self.office.job(key).state == "FAILED"
        return key

    def retried(self, key: str, token: str | None = None) -> Any:
        return self.office.ask("POST", f"/jobs/{key}/retry", token=token)


@pytest.fixture
def two(office: Office) -> Two:
    return Two(office)


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code", "")


def test_a_point_of_others_is_not_there(two: Two) -> None:
    for token in two.operators().values():
        foreign, missing = two.asked(token, point=OTHERS), two.asked(token, point="00000000ff")
        assert refusal(foreign) == refusal(missing) == (404, "commserve.not_found")
        assert foreign.json()["detail"].replace(OTHERS, "") == missing.json()["detail"].replace("00000000ff", "")


def test_who_may_read_a_point_and_not_restore_it_hears_that(two: Two) -> None:
    lab = Scope("hypervisor", two.labs[0])
    viewer = two.office.person("v", "viewer", lab)
    assert refusal(two.asked(viewer)) == (403, "commserve.not_allowed")
    (user,) = [user for user in two.office.get("/users")["items"] if user["name"] == "v"]
    two.office.post(
        "/bindings", {"user_id": user["id"], "role": "operator", "scope_kind": "plan", "scope_id": two.plans[1]}
    )
    assert refusal(two.asked(viewer)) == (403, "commserve.not_allowed"), "may restore elsewhere, and read here"


def test_files_land_on_vsas_that_read_the_machine_anyway(two: Two) -> None:
    for token in two.operators().values():
        named = two.asked(token, agent_id=two.vsas[0])
        assert named.status_code == 201, named.text
        chosen = two.asked(token)
        assert two.office.job(chosen.json()["id"]).wanted_agent_id == two.vsas[0]
        other, none = two.asked(token, agent_id=two.vsas[1]), two.asked(token, agent_id="none")
        assert refusal(other) == refusal(none) == (422, "commserve.request_invalid")
        assert other.json()["detail"].replace(two.vsas[1], "none") == none.json()["detail"]


def test_a_hypervisor_that_names_no_vsa_is_read_by_all(two: Two) -> None:
    body = {"name": "one", "kind": "images", "settings": {"directory": "/x"}}
    two.office.put(f"/hypervisors/{two.labs[0]}", body)
    for token in two.operators().values():
        assert two.asked(token, agent_id=two.vsas[1]).status_code == 201
        assert refusal(two.asked(token)) == (409, "commserve.no_agent")


def test_only_who_may_restore_everything_overwrites_or_goes_to_any_vsa(two: Two) -> None:
    for token in two.operators().values():
        assert refusal(two.asked(token, agent_id=two.vsas[0], overwrite=True)) == (403, "commserve.not_allowed")
    operator = two.office.person("all", "operator", EVERYTHING)
    assert two.asked(operator, agent_id=two.vsas[1], overwrite=True).status_code == 201
    less = two.office.person("less", "administrator", permissions=[Permission.POINTS_READ, Permission.JOBS_READ])
    assert two.asked(less, agent_id=two.vsas[1]).status_code == 403


def test_a_retry_of_a_restore_is_refused_to_whom_the_restore_is(two: Two) -> None:
    elsewhere = two.failed(agent_id=two.vsas[1])
    over = two.failed(agent_id=two.vsas[0], overwrite=True)
    here = two.failed(agent_id=two.vsas[0])
    for kind, token in two.operators().items():
        assert refusal(two.retried(elsewhere, token)) == (422, "commserve.request_invalid")
        assert refusal(two.retried(over, token)) == (403, "commserve.not_allowed")
        again = two.retried(here, token)
        assert again.status_code == 201, again.text
        two.office.post(f"/jobs/{again.json()['id']}/cancel")
        assert again.json()["requested_by"] == kind
    for key in (elsewhere, over):
        again, first = two.retried(key).json(), two.office.job(key)
        assert (again["arguments"], again["pool_id"]) == (first.arguments, two.pool)
        assert two.office.job(again["id"]).wanted_agent_id == first.wanted_agent_id
    runs_only = two.office.person("r", "administrator", permissions=[Permission.JOBS_RUN, Permission.JOBS_READ])
    assert two.retried(here, runs_only).status_code == 404, "without points.read there is no point"


def test_a_retry_of_a_restore_looks_again_at_what_changed(two: Two) -> None:
    key = two.failed(agent_id=two.vsas[1])
    two.office.post(f"/agents/{two.vsas[1]}/drain")
    assert refusal(two.retried(key)) == (422, "commserve.request_invalid")
    two.office.post(f"/agents/{two.vsas[1]}/resume")
    with two.office.store.writing() as connection:
        connection.execute(sa.update(points).where(points.c.id == POINT).values(expired=True))
    assert refusal(two.retried(key)) == (409, "commserve.state_forbids")
    with two.office.store.writing() as connection:
        connection.execute(sa.delete(points))
    assert refusal(two.retried(key)) == (404, "commserve.not_found")


def test_a_retry_into_a_hypervisor_asks_for_the_whole_of_it_again(two: Two) -> None:
    vsa = two.vsas[0]
    vc1 = vcenter(two.office, vsa)
    two.office.discover(vc1, machine("web"), machine("db"))
    key = two.failed(directory=None, machine={"hypervisor_id": vc1, "how": "attach", "machine_id": "id-db"})
    for token in two.operators().values():
        assert refusal(two.retried(key, token)) == (404, "commserve.not_found"), "no such hypervisor, for them"
    second = two.office.agent("vsa", "third")
    two.office.post(f"/agents/{vsa}/drain")
    assert refusal(two.retried(key)) == (409, "commserve.no_agent")
    two.office.post(f"/agents/{vsa}/resume")
    again = two.retried(key).json()
    assert again["arguments"] == two.office.job(key).arguments
    assert two.office.job(again["id"]).wanted_agent_id == vsa != second
    two.office.post(f"/jobs/{again['id']}/cancel")
    with two.office.store.writing() as connection:
        connection.execute(sa.update(machines).where(machines.c.id == "id-db").values(hypervisor_id=two.labs[1]))
    assert refusal(two.retried(key)) == (422, "commserve.request_invalid"), "it is a machine of another by now"


def test_in_place_is_where_the_machine_is(two: Two) -> None:
    vc1 = vcenter(two.office, two.vsas[0])
    target = {"hypervisor_id": vc1, "how": "in_place"}
    assert refusal(two.asked(directory=None, machine=target)) == (422, "commserve.request_invalid")
    with two.office.store.writing() as connection:
        connection.execute(sa.update(machines).where(machines.c.id == "id-one").values(hypervisor_id=vc1))
    assert two.asked(directory=None, machine=target).json()["arguments"]["machine"]["machine_id"] == "id-one"


def test_a_backup_is_done_again_by_who_may_back_up_the_machine_now(two: Two) -> None:
    office = two.office
    first = office.post("/machines/id-one/backup")["id"]
    office.post(f"/jobs/{first}/cancel")
    operator = two.operators()["plan"]
    again = two.retried(first, operator)
    assert again.status_code == 201, again.text
    office.post(f"/jobs/{again.json()['id']}/cancel")
    with office.store.writing() as connection:
        moved = sa.update(machines).where(machines.c.id == "id-one")
        connection.execute(moved.values(plan_id=two.plans[1], rule_id=two.rules[1]))
    assert refusal(two.retried(first, operator)) == (404, "commserve.not_found"), "it is of another plan by now"
    assert two.retried(first).status_code == 201
    office.discover(two.labs[0])
    third = office.post("/machines/id-two/backup")["id"]
    office.post(f"/jobs/{third}/cancel")
    office.discover(two.labs[1])
    assert refusal(two.retried(third)) == (409, "commserve.state_forbids"), "it is gone"


def test_what_a_media_agent_does_is_done_again_by_who_may_ask_for_it(two: Two) -> None:
    office = two.office
    operator = office.person("all", "operator", EVERYTHING)
    verify = office.post(f"/pools/{two.pool}/verify")["id"]
    expire = office.post("/points/expire", {"pool_id": two.pool, "points": [POINT]})["id"]
    for key in (verify, expire):
        office.post(f"/jobs/{key}/cancel")
        assert refusal(two.retried(key, operator)) == (403, "commserve.not_allowed")
        office.post(f"/jobs/{two.retried(key).json()['id']}/cancel")
    with office.store.writing() as connection:
        connection.execute(sa.update(points).values(marks=["hold"]))
    assert refusal(two.retried(expire)) == (409, "commserve.retention_refused")


def test_a_cleaning_is_done_again_only_where_something_is_left(two: Two) -> None:
    """What was half-made when the first was asked for may be somebody's machine by now."""
    office = two.office
    left = sa.update(machines).where(machines.c.id == "id-one")
    with office.store.writing() as connection:
        connection.execute(left.values(leftovers={"snapshots": 1}))
    key = office.post("/machines/id-one/clean", {})["id"]
    office.post(f"/jobs/{key}/cancel")
    operator = two.operators()["hypervisor"]
    runs_only = [Permission.JOBS_RUN, Permission.JOBS_READ, Permission.MACHINES_READ]
    assert two.retried(key, office.person("r", "administrator", permissions=runs_only)).status_code == 403
    again = two.retried(key, operator)
    assert again.status_code == 201, again.text
    office.post(f"/jobs/{again.json()['id']}/cancel")
    with office.store.writing() as connection:
        asked = sa.update(jobs).where(jobs.c.id == key)
        connection.execute(asked.values(arguments={"half_made_by": "a restore of before"}))
    assert refusal(two.retried(key, operator)) == (409, "commserve.state_forbids"), "it is not half-made any more"
    with office.store.writing() as connection:
        connection.execute(left.values(leftovers={}))
        connection.execute(asked.values(arguments={"half_made_by": ""}))
    assert refusal(two.retried(key, operator)) == (409, "commserve.state_forbids"), "nothing is left"


def test_a_discovery_of_what_was_forgotten_is_not_done_again(two: Two) -> None:
    job = two.office.post(f"/hypervisors/{two.labs[0]}/discover")["id"]
    assert two.office.ask("DELETE", f"/hypervisors/{two.labs[0]}").status_code == 204
    assert two.office.job(job).state == "CANCELLED"
    assert refusal(two.retried(job)) == (404, "commserve.not_found")
