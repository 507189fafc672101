"""Permissions, and what goes wrong on purpose."""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import Any

import pytest
from pyVmomi import vim, vmodl

from tests.sim.connected import connected, machine_of, result
from tests.sim.vcenter.vcenter import Vcenter


def test_a_customer_of_the_cloud_sees_management_and_may_not_touch_it(tmp_path: Path) -> None:
    with Vcenter(tmp_path, cloud=True) as cloud, connected(cloud) as service:
        mine = cloud.add_machine("shop", [1 << 30])
        manager = cloud.machine("vcenter")
        result(machine_of(service, mine.moid).CreateSnapshotEx_Task(name="s", memory=False))
        assert machine_of(service, manager.moid).name == "vcenter"
        with pytest.raises(vim.fault.NoPermission) as denied:
            machine_of(service, manager.moid).CreateSnapshotEx_Task(name="s", memory=False)
        assert denied.value.privilegeId == "VirtualMachine.State.CreateSnapshot"
        assert denied.value.object._moId == manager.moid
        grants = service.content.authorizationManager
        session = service.content.sessionManager.currentSession.key
        [told] = grants.HasPrivilegeOnEntities(
            [machine_of(service, mine.moid)], session, ["VirtualMachine.State.CreateSnapshot", "Host.Config.Storage"]
        )
        assert [each.isGranted for each in told.privAvailability] == [True, False]


def test_a_missing_privilege_is_named(vcenter: Vcenter) -> None:
    web = vcenter.add_machine("web", [1 << 30])
    vcenter.add_user("reader@vsphere.local", "Reader-1", ["VirtualMachine.State.CreateSnapshot"])
    with connected(vcenter, "reader@vsphere.local", "Reader-1") as service:
        machine = machine_of(service, web.moid)
        taken = result(machine.CreateSnapshotEx_Task(name="s", memory=False))
        with pytest.raises(vim.fault.NoPermission) as denied:
            taken.RemoveSnapshot_Task(removeChildren=False)
        assert denied.value.privilegeId == "VirtualMachine.State.RemoveSnapshot"


def test_calls_and_tasks_fail_as_often_as_planned(vcenter: Vcenter, service: Any) -> None:
    machine = machine_of(service, vcenter.add_machine("web", [1 << 30]).moid)
    vcenter.faults.plan("CreateSnapshotEx_Task", vim.fault.ConcurrentAccess, skip=1)
    vcenter.faults.plan("CreateSnapshotEx_Task", "FileLocked", where="task")
    with pytest.raises(vim.fault.FileLocked):
        result(machine.CreateSnapshotEx_Task(name="s", memory=False))
    with pytest.raises(vim.fault.ConcurrentAccess):
        machine.CreateSnapshotEx_Task(name="s", memory=False)
    result(machine.CreateSnapshotEx_Task(name="s", memory=False))
    assert vcenter.faults.calls["CreateSnapshotEx_Task"] == 3


def test_a_connection_cut_after_the_call_leaves_its_work_done(vcenter: Vcenter, service: Any) -> None:
    web = vcenter.add_machine("web", [1 << 30])
    vcenter.faults.plan("CreateSnapshotEx_Task", where="cut-after")
    with pytest.raises((http.client.HTTPException, OSError)):
        machine_of(service, web.moid).CreateSnapshotEx_Task(name="s", memory=False)
    [task] = machine_of(service, web.moid).recentTask
    result(task)
    assert task.info.descriptionId == "VirtualMachine.createSnapshotEx"
    assert len(web.snapshots) == 1


def test_quiescing_fails_once_or_always_and_needs_tools(vcenter: Vcenter, service: Any) -> None:
    machine = machine_of(service, vcenter.add_machine("web", [1 << 30]).moid)
    quiesce = vim.vm.WindowsQuiesceSpec(timeout=5, vssBackupType=1)

    def take() -> Any:
        return result(machine.CreateSnapshotEx_Task(name="s", memory=False, quiesceSpec=quiesce))

    vcenter.fail_quiescing(1)
    with pytest.raises(vim.fault.ApplicationQuiesceFault):
        take()
    take()
    assert machine.snapshot.rootSnapshotList[0].quiesced
    vcenter.machine("web").machine.tools_running = False
    with pytest.raises(vim.fault.ToolsUnavailable):
        take()


def test_a_full_datastore_takes_no_snapshot(vcenter: Vcenter, service: Any) -> None:
    machine = machine_of(service, vcenter.add_machine("web", [1 << 30]).moid)
    vcenter.datastore.free_bytes = 1 << 20
    assert service.content.rootFolder.childEntity[0].datastore[0].summary.freeSpace == 1 << 20
    with pytest.raises(vim.fault.NoDiskSpace):
        result(machine.CreateSnapshotEx_Task(name="s", memory=False))


def test_the_known_bugs_of_change_tracking_hide_changes(vcenter: Vcenter) -> None:
    web = vcenter.add_machine("web", [1 << 20, 1 << 20], change_tracking=True)
    web.drop_changes_at_consolidation()
    before = web.take_snapshot()
    web.guest_write(0, 0, b"lost")
    web.remove_snapshot(before)
    web.guest_write(0, 512 << 10, b"seen")
    after = web.take_snapshot()
    tracking = web.disk(0).tracking
    since, until = before.change_ids[2000] or "", after.change_ids[2000] or ""
    assert list(tracking.changed(since, until, 1 << 20)) == [(512 << 10, 576 << 10)]
    web.remove_snapshot(after)
    web.drop_changes_beyond(1 << 20)
    web.resize(1, 4 << 20)
    first = web.take_snapshot()
    web.guest_write(1, 2 << 20, b"lost")
    second = web.take_snapshot()
    found = web.disk(1).tracking.changed(first.change_ids[2001] or "", second.change_ids[2001] or "", 4 << 20)
    assert list(found) == []


def test_what_is_not_simulated_says_so(vcenter: Vcenter, service: Any) -> None:
    with pytest.raises(vmodl.fault.NotImplemented):
        machine_of(service, vcenter.add_machine("web", [1 << 30]).moid).AcquireMksTicket()
