"""Snapshots and change tracking, seen by pyVmomi."""

from __future__ import annotations

from typing import Any

import pytest
from pyVmomi import vim, vmodl

from tests.sim.connected import machine_of, result
from tests.sim.vcenter.vcenter import Vcenter

MIB = 1 << 20


def change_id(snapshot: Any, key: int = 2000) -> str:
    return next(each.backing.changeId for each in snapshot.config.hardware.device if each.key == key)


def snapshot(machine: Any) -> Any:
    return result(machine.CreateSnapshotEx_Task(name="s", description="d", memory=False, quiesceSpec=None))


def test_what_is_written_after_a_snapshot_does_not_change_what_the_snapshot_shows(
    vcenter: Vcenter, service: Any
) -> None:
    web = vcenter.add_machine("web", [64 * MIB])
    web.guest_write(0, 5000, b"before")
    taken = snapshot(machine_of(service, web.moid))
    web.guest_write(0, 5003, b"after")
    [frozen] = web.snapshots
    assert web.disk_bytes(0, frozen, 5000, 8) == b"before\0\0"
    assert web.disk_bytes(0, None, 5000, 8) == b"befafter"
    result(taken.RemoveSnapshot_Task(removeChildren=False))
    assert web.disk_bytes(0, None, 5000, 8) == b"befafter"
    assert machine_of(service, web.moid).snapshot is None


def test_changed_areas_are_what_was_written_between_two_snapshots(vcenter: Vcenter, service: Any) -> None:
    web = vcenter.add_machine("web", [64 * MIB], change_tracking=True)
    machine = machine_of(service, web.moid)
    first = snapshot(machine)
    since = change_id(first)
    web.guest_write(0, 10 * MIB + 5, b"x")
    result(first.RemoveSnapshot_Task(removeChildren=False))
    web.guest_write(0, 20 * MIB, b"y" * 100_000)
    second = snapshot(machine)
    web.guest_write(0, 30 * MIB, b"z")
    areas = machine.QueryChangedDiskAreas(snapshot=second, deviceKey=2000, startOffset=0, changeId=since)
    found = [(each.start, each.length) for each in areas.changedArea]
    assert found == [(10 * MIB, 65536), (20 * MIB, 131072)]
    assert (areas.startOffset, areas.length) == (0, 64 * MIB)


def test_changed_areas_come_in_pages_of_two_thousand(vcenter: Vcenter, service: Any) -> None:
    web = vcenter.add_machine("web", [1024 * MIB], change_tracking=True)
    machine = machine_of(service, web.moid)
    since = change_id(snapshot(machine))
    for number in range(4100):
        web.guest_write(0, number * 131072, b"x")
    taken = snapshot(machine)
    found: list[int] = []
    pages: list[int] = []
    at = 0
    while at < 1024 * MIB:
        page = machine.QueryChangedDiskAreas(snapshot=taken, deviceKey=2000, startOffset=at, changeId=since)
        assert page.startOffset == at
        pages.append(len(page.changedArea))
        found += [each.start for each in page.changedArea]
        at += page.length
    assert pages == [2000, 2000, 100]
    assert found == [number * 131072 for number in range(4100)]
    with pytest.raises(vmodl.fault.InvalidArgument):
        machine.QueryChangedDiskAreas(snapshot=taken, deviceKey=2000, startOffset=at, changeId=since)


def test_a_change_id_from_before_a_reset_is_refused(vcenter: Vcenter, service: Any) -> None:
    web = vcenter.add_machine("web", [64 * MIB], change_tracking=True)
    machine = machine_of(service, web.moid)
    since = change_id(snapshot(machine))
    web.power_loss()
    taken = snapshot(machine)
    assert change_id(taken).partition("/")[0] != since.partition("/")[0]
    with pytest.raises(vim.fault.FileFault) as lost:
        machine.QueryChangedDiskAreas(snapshot=taken, deviceKey=2000, startOffset=0, changeId=since)
    assert [each.key for each in lost.value.faultMessage] == ["vim.hostd.vmsvc.cbt.noEpoch"]
    with pytest.raises(vmodl.fault.InvalidArgument) as malformed:
        machine.QueryChangedDiskAreas(snapshot=taken, deviceKey=2000, startOffset=0, changeId="nonsense")
    assert malformed.value.invalidProperty == "changeId"
