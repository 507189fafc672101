"""Machines that move to another vCenter, or whose vCenter is built anew, keep their id and their points."""

from __future__ import annotations

import uuid
from typing import Any

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
