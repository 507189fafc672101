"""vMotion, of the running machine and of its files."""

from __future__ import annotations

from typing import Any

from pyVmomi import vim, vmodl

from tests.sim.vcenter.disks import Disk
from tests.sim.vcenter.inventory import Datastore, Folder
from tests.sim.vcenter.machine import Machine
from tests.sim.vcenter.objects import Call, serves
from tests.sim.vcenter.tasks import Task


@serves(vim.VirtualMachine, "RelocateVM_Task", "Resource.ColdMigrate")
def relocate(call: Call, machine: Machine, spec: Any, priority: Any = None) -> Any:
    vcenter = call.vcenter
    if "RelocateVM_Task" in machine.disabled_methods:
        raise vmodl.fault.MethodDisabled(source="somebody who said so")
    if machine.power == "poweredOn":
        vcenter.authorization.need(call.user, "Resource.HotMigrate", machine)
    host = vcenter.need(spec.host) if spec.host is not None else None
    pool = vcenter.need(spec.pool) if spec.pool is not None else None
    store = vcenter.need(spec.datastore) if spec.datastore is not None else None
    folder = vcenter.need(spec.folder) if spec.folder is not None else None

    def work(task: Task) -> None:
        task.progress(20)
        with vcenter.changes.lock:
            if store is not None:
                move_files(machine, store)
            if host is not None:
                machine.move_to(host)
            if pool is not None:
                machine.assign(pool)
            if isinstance(folder, Folder):
                folder.put(machine)
            machine.refresh_disks()
            machine.touch()

    return vcenter.tasks.start(call, machine, work, cancelable=True)


def move_files(machine: Machine, store: Datastore) -> None:
    """Storage vMotion: all files to another datastore; without snapshots, disks are named after the machine again and
    change tracking goes on; with them, it begins anew. With the lock held.
    """
    has_snapshots = bool(machine.roots)
    directory = machine.name
    for number, disk in enumerate(machine.disks.values()):
        _move_layers(disk, store, directory, number, machine)
        if has_snapshots and disk.tracking.is_active:
            disk.tracking.reset()
    files = machine.config.files
    name = files.vmPathName.rpartition("/")[2]
    old = files.vmPathName.rpartition("/")[0]
    files.vmPathName = f"[{store.name}] {directory}/{name}"
    machine.vcenter.moved_small_files(old, f"[{store.name}] {directory}")
    files.snapshotDirectory = files.suspendDirectory = files.logDirectory = f"[{store.name}] {directory}/"


def _move_layers(disk: Disk, store: Datastore, directory: str, number: int, machine: Machine) -> None:
    for layer in disk.layers:
        name = layer.name.rpartition("/")[2]
        if layer.is_base:
            name = f"{machine.name}{f'_{number}' if number else ''}.vmdk"
        before = layer.path
        layer.datastore, layer.name = store, f"{directory}/{name}"
        if before.exists():
            layer.path.parent.mkdir(parents=True, exist_ok=True)
            before.rename(layer.path)
