"""Machines that move to another vCenter, or whose vCenter is built anew, keep their id and their points."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa

from commserve.inventory import machines
from commserve.jobs.backlog import submit
from commserve.jobs.kinds import Wanted
from commserve.store.tables import jobs
from tests.commserve.office import Office, machine

ONE, TWO, THREE = (str(uuid.UUID(int=n)) for n in (1, 2, 3))
PASSWORD = {"secret": "the password"}


def web(vcenter: str, instance: int = 7, **other: Any) -> dict[str, Any]:
    disks = [{"key": str(uuid.UUID(int=instance + 100)), "name": "Hard disk 1", "size": 1 << 30, "reason": ""}]
    return machine("web", **{"id": f"{vcenter}:{uuid.UUID(int=instance)}", "disks": disks, **other})


def shown(office: Office) -> list[tuple[str, str]]:
    return sorted((each["id"], each["hypervisor_id"]) for each in office.all_pages("/machines"))


def test_a_machine_that_moved_to_another_vcenter_keeps_its_id_and_is_protected_there(office: Office) -> None:
    first, second, gold = office.hypervisor("first"), office.hypervisor("second"), office.plan()
    office.rule("moved", gold, folders=["Workloads"])
    office.discover(first, web(ONE))
    office.discover(first)
    assert office.discover(second, web(TWO, folder="Workloads")) == []
    assert shown(office) == [(web(ONE)["id"], second)]
    assert office.all_pages("/machines")[0]["plan_id"] == gold
    assert office.discover(second, web(TWO)) == []  # known again the next time
    assert shown(office) == [(web(ONE)["id"], second)]


def test_a_machine_that_is_still_seen_where_it_was_does_not_appear_twice(office: Office) -> None:
    first, second = office.hypervisor("first"), office.hypervisor("second")
    office.discover(first, web(ONE))
    assert "another hypervisor" in office.discover(second, web(TWO))[0]
    assert shown(office) == [(web(ONE)["id"], first)]


def test_a_machine_whose_vcenter_answers_no_more_goes_on_where_it_is_found(office: Office) -> None:
    first, second = office.hypervisor("first"), office.hypervisor("second")
    office.discover(first, web(ONE))
    office.clock.pass_(hours=1)
    assert office.discover(second, web(TWO)) == []
    assert shown(office) == [(web(ONE)["id"], second)]


def test_a_machine_that_comes_back_is_itself_again(office: Office) -> None:
    first, second = office.hypervisor("first"), office.hypervisor("second")
    office.discover(first, web(ONE))
    office.discover(first)
    office.discover(second, web(TWO))
    office.discover(second)
    assert office.discover(first, web(ONE)) == []
    assert shown(office) == [(web(ONE)["id"], first)]


def test_a_machine_with_other_disks_is_another_one(office: Office) -> None:
    first, second = office.hypervisor("first"), office.hypervisor("second")
    office.discover(first, web(ONE))
    office.discover(first)
    office.discover(second, web(TWO, disks=[{"key": "other", "name": "Hard disk 1", "size": 1, "reason": ""}]))
    assert shown(office) == [(web(TWO)["id"], second)]


def test_machines_of_a_vcenter_that_was_built_anew_are_adopted(office: Office) -> None:
    old, new = office.hypervisor("old"), office.hypervisor("new")
    office.discover(old, web(ONE), web(ONE, 8) | {"name": "lost"})
    resized = [{"key": "resized", "name": "Hard disk 1", "size": 1, "reason": ""}]
    office.discover(new, web(TWO, disks=resized))
    assert office.post(f"/hypervisors/{new}/adopt", {"old": old}) == {"machines": 1}
    assert shown(office) == [(web(ONE)["id"], new)]
    office.discover(new, web(TWO, disks=resized))
    assert shown(office) == [(web(ONE)["id"], new)]


def test_a_hypervisor_that_was_not_discovered_adopts_nothing(office: Office) -> None:
    old, new = office.hypervisor("old"), office.hypervisor("new")
    assert office.ask("POST", f"/hypervisors/{new}/adopt", {"old": old}).status_code == 422
    assert office.ask("POST", f"/hypervisors/{old}/adopt", {"old": old}).status_code == 422


def changed(office: Office, hypervisor: str, *found: dict[str, Any], gone: tuple[str, ...] = ()) -> list[str]:
    with office.store.writing() as connection:
        return machines.change(connection, hypervisor, found, gone, office.clock.moment)


def test_what_a_watch_tells_is_taken_as_a_discovery_would(office: Office) -> None:
    first, second = office.hypervisor("first"), office.hypervisor("second")
    office.discover(first, web(ONE), web(ONE, 8))
    assert "another hypervisor" in changed(office, second, web(TWO))[0]
    assert changed(office, first, gone=(web(ONE)["id"],)) == []
    assert changed(office, second, web(TWO)) == []
    assert shown(office) == [(web(ONE)["id"], second), (web(ONE, 8)["id"], first)]
    assert changed(office, second, web(TWO) | {"name": "renamed"}) == [], "it is known by what it is called there"
    assert {each["name"] for each in office.all_pages("/machines")} == {"web", "renamed"}
    assert changed(office, second, gone=(web(TWO)["id"],)) == []
    assert shown(office) == [(web(ONE, 8)["id"], first)]
    assert changed(office, first, web(ONE)) == [], "it came back"
    assert shown(office) == [(web(ONE)["id"], first), (web(ONE, 8)["id"], first)]


def test_many_changes_at_once_are_taken_like_one(office: Office) -> None:
    first, second = office.hypervisor("first"), office.hypervisor("second")
    office.discover(first, *(web(ONE, n) for n in range(2100)))
    assert changed(office, first, gone=tuple(web(ONE, n)["id"] for n in range(2100))) == []
    assert changed(office, second, *(web(TWO, n) for n in range(2100))) == []
    assert {hypervisor for _, hypervisor in shown(office)} == {second}


def test_a_machine_restored_with_its_identity_goes_on_with_other_disks(office: Office) -> None:
    first, second = office.hypervisor("first"), office.hypervisor("second")
    office.discover(first, web(ONE), web(ONE, 8))
    disks = [{"key": "new", "name": "Hard disk 1", "size": 1 << 30, "reason": ""}]
    restoring(office, web(ONE)["id"], second, keep_identity=True)
    assert "another hypervisor" in office.discover(second, web(TWO, disks=disks))[0], "the one that was is there still"
    office.discover(first)
    assert office.discover(second, web(TWO, disks=disks), web(TWO, 8, disks=disks)) == []
    assert shown(office) == [(web(ONE)["id"], second), (web(TWO, 8)["id"], second)]


def test_a_restore_that_failed_or_made_a_copy_or_went_elsewhere_lets_nothing_go_on(office: Office) -> None:
    first, second, third = (office.hypervisor(name) for name in ("first", "second", "third"))
    office.discover(first, web(ONE))
    office.discover(first)
    restoring(office, web(ONE)["id"], second, keep_identity=True, state="FAILED")
    restoring(office, web(ONE)["id"], second, keep_identity=False)
    restoring(office, web(ONE)["id"], third, keep_identity=True)
    office.discover(second, web(TWO, disks=[{"key": "new", "name": "Hard disk 1", "size": 1, "reason": ""}]))
    assert shown(office) == [(web(TWO)["id"], second)]


def restoring(office: Office, machine_id: str, hypervisor: str, *, keep_identity: bool, state: str = "DONE") -> None:
    """A restore of it into a hypervisor, as the database has one."""
    now = office.clock.moment
    target = {"hypervisor_id": hypervisor, "how": "new", "keep_identity": keep_identity}
    wanted = Wanted("restore", f"restore:{hypervisor}", now, now, machine_id=machine_id, arguments={"machine": target})
    with office.store.writing() as connection:
        (key,) = submit(connection, office.services.ids, [wanted], now)
        connection.execute(sa.update(jobs).where(jobs.c.id == key).values(state=state, ended_at=now))
