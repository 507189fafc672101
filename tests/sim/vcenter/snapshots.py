"""Snapshots: made, reverted to, removed, consolidated."""

from __future__ import annotations

from typing import Any

from pyVmomi import vim, vmodl

from tests.sim.vcenter.clone import clone
from tests.sim.vcenter.disks import Disk, Layer, merge
from tests.sim.vcenter.machine import Machine, describe_backing
from tests.sim.vcenter.objects import Call, Simulated, serves
from tests.sim.vcenter.tasks import Task

CREATE = "VirtualMachine.State.CreateSnapshot"
REMOVE = "VirtualMachine.State.RemoveSnapshot"
REVERT = "VirtualMachine.State.RevertToSnapshot"
DEPTH_MAX = 32
SPACE_MIN_BYTES = 64 << 20  # a snapshot on a datastore with less fails


class Snapshot(Simulated):
    """A frozen configuration, and per disk the layers that were there."""

    kind = vim.vm.Snapshot
    shown = {
        "config": lambda self: self.config,
        "childSnapshot": lambda self: [each.ref for each in self.children],
        "vm": lambda self: self.machine.ref,
    }

    def __init__(self, machine: Machine, number: int, name: str, description: str, *, quiesced: bool) -> None:
        super().__init__(machine.vcenter, machine.vcenter.new_id("snapshot-"))
        self.machine = machine
        self.number = number
        self.name, self.description, self.quiesced = name, description, quiesced
        self.created = machine.vcenter.clock.now()
        self.power = machine.power
        self.parent: Snapshot | None = machine.current
        self.children: list[Snapshot] = []
        self.layers: dict[int, list[Layer]] = {}
        self.change_ids: dict[int, str | None] = {}
        self.sizes: dict[int, int] = {}
        self.config: Any = None

    def tree(self) -> Any:
        return vim.vm.SnapshotTree(
            snapshot=self.ref,
            vm=self.machine.ref,
            name=self.name,
            description=self.description,
            id=self.number,
            createTime=self.created,
            state="poweredOff",  # memory is never saved
            quiesced=self.quiesced,
            replaySupported=False,
            childSnapshotList=[each.tree() for each in self.children],
        )

    def below(self) -> list[Snapshot]:
        """Itself, and everything after it."""
        return [self, *(deep for each in self.children for deep in each.below())]


def make(machine: Machine, name: str, description: str, *, quiesced: bool) -> Snapshot:
    """Freeze the disks. With the lock held."""
    snapshot = Snapshot(machine, machine.next_snapshot, name, description, quiesced=quiesced)
    machine.next_snapshot += 1
    stun(machine)
    snapshot.config = clone(machine.config)
    devices = {each.key: each for each in snapshot.config.hardware.device}
    for key, disk in machine.disks.items():
        if disk.is_independent:
            continue
        change_id = disk.tracking.snapshot()
        frozen = disk.freeze(Layer(disk.layers[-1].datastore, _next_name(machine, disk), is_base=False))
        snapshot.layers[key], snapshot.change_ids[key], snapshot.sizes[key] = frozen, change_id, disk.size
        describe_backing(devices[key].backing, disk, frozen, change_id)
    if snapshot.parent is None:
        machine.roots.append(snapshot)
    else:
        snapshot.parent.children.append(snapshot)
    machine.current = snapshot
    machine.vcenter.objects[snapshot.moid] = snapshot
    machine.refresh_disks()
    machine.touch()
    for witness in machine.vcenter.witnesses:
        witness(snapshot)
    return snapshot


def _next_name(machine: Machine, disk: Disk) -> str:
    base = disk.layers[0].name.removesuffix(".vmdk")
    chains = [disk.layers, *(each.layers.get(disk.key, []) for each in every_snapshot(machine))]
    taken = {layer.name for chain in chains for layer in chain}
    number = 1
    while f"{base}-{number:06d}.vmdk" in taken:
        number += 1
    return f"{base}-{number:06d}.vmdk"


def stun(machine: Machine) -> None:
    """The machine stands still for a moment: change tracking that was switched on or off takes effect, unless there are
    snapshots.
    """
    if machine.roots:
        return
    for disk in machine.disks.values():
        if machine.config.changeTrackingEnabled and not disk.is_independent:
            disk.tracking.activate()
        else:
            disk.tracking.deactivate()


def remove(snapshot: Snapshot, *, children: bool) -> None:
    """Take snapshots out of the tree, and consolidate what no other needs. With the lock held."""
    machine = snapshot.machine
    for each in reversed(snapshot.below()) if children else [snapshot]:
        siblings = machine.roots if each.parent is None else each.parent.children
        at = siblings.index(each)
        siblings[at : at + 1] = each.children
        for child in each.children:
            child.parent = each.parent
        if machine.current is each:
            machine.current = each.parent
        machine.vcenter.forget(each.moid)
        _drop_unused(machine, each)
        for key, change_id in each.change_ids.items():
            if change_id is not None and key in machine.disks:
                machine.disks[key].tracking.consolidated(int(change_id.rpartition("/")[2]) + 1)
    consolidate(machine)


def _drop_unused(machine: Machine, removed: Snapshot) -> None:
    """Delete layers of a branch that nothing leads to any more."""
    for key, layers in removed.layers.items():
        chains = [each.layers.get(key, []) for each in every_snapshot(machine)]
        live = machine.disks[key].layers if key in machine.disks else []
        for layer in layers:
            if layer not in live and not any(layer in chain for chain in chains):
                layer.remove()


def consolidate(machine: Machine) -> None:
    """Merge a layer into the one below wherever nobody needs the lower one by itself. What is being read stays, and
    consolidation is needed then. With the lock held.
    """
    snapshots = every_snapshot(machine)
    machine.consolidation_needed = False
    for key, disk in machine.disks.items():
        chains = [disk.layers, *(each.layers[key] for each in snapshots if key in each.layers)]
        for index in range(len(disk.layers) - 2, -1, -1):
            lower, upper = disk.layers[index : index + 2]
            if all(upper in chain[chain.index(lower) + 1 :][:1] for chain in chains if lower in chain):
                machine.consolidation_needed |= not merge(lower, upper, chains)
    if not machine.roots:
        stun(machine)
    _describe(machine, snapshots)


def _describe(machine: Machine, snapshots: list[Snapshot]) -> None:
    """Backings say again where the bytes are."""
    for each in snapshots:
        for device in each.config.hardware.device:
            if device.key in each.layers and device.key in machine.disks:
                layers, change_id = each.layers[device.key], each.change_ids[device.key]
                describe_backing(device.backing, machine.disks[device.key], layers, change_id)
        each.touch()
    machine.refresh_disks()
    machine.touch()


def every_snapshot(machine: Machine) -> list[Snapshot]:
    return [deep for each in machine.roots for deep in each.below()]


def revert(snapshot: Snapshot) -> None:
    """The machine is again what the snapshot froze; change tracking begins anew. With the lock held."""
    machine = snapshot.machine
    machine.config = clone(snapshot.config)
    for key, layers in snapshot.layers.items():
        disk = machine.disks.get(key)
        if disk is None:
            continue
        still = {id(layer) for each in every_snapshot(machine) for found in each.layers.values() for layer in found}
        for layer in disk.layers:
            if id(layer) not in still:
                layer.remove()
        disk.layers = list(layers)
        disk.size = snapshot.sizes[key]
        disk.layers.append(Layer(layers[-1].datastore, _next_name(machine, disk), is_base=False))
        if disk.tracking.is_active:
            disk.tracking.reset()
    machine.current = snapshot
    machine.power = "poweredOff"
    machine.refresh_disks()
    machine.touch()


@serves(vim.VirtualMachine, "CreateSnapshotEx_Task", CREATE)
def create_snapshot(
    call: Call, machine: Machine, name: str, memory: bool, description: str | None = None, quiesceSpec: Any = None
) -> Any:
    return _create(call, machine, name, description, memory=memory, quiesce=quiesceSpec is not None)


@serves(vim.VirtualMachine, "CreateSnapshot_Task", CREATE)
def create_plain_snapshot(
    call: Call, machine: Machine, name: str, memory: bool, quiesce: bool, description: str | None = None
) -> Any:
    return _create(call, machine, name, description, memory=memory, quiesce=quiesce)


def _create(call: Call, machine: Machine, name: str, description: str | None, *, memory: bool, quiesce: bool) -> Any:
    if machine.config.template:
        raise vim.fault.InvalidState(msg="The operation is not allowed in the current state: it is a template.")

    def work(task: Task) -> Any:
        vcenter = machine.vcenter
        task.progress(10)
        if any(store.free_bytes < SPACE_MIN_BYTES for store in machine.datastores()):
            raise vim.fault.NoDiskSpace(datastore=machine.datastores()[0].name, file=machine.config.files.vmPathName)
        if quiesce and machine.power == "poweredOn":
            vcenter.quiesce(machine)
        with vcenter.changes.lock:
            if _depth(machine) >= DEPTH_MAX:
                raise vim.fault.TooManySnapshotLevels()
            return make(machine, name, description or "", quiesced=quiesce and machine.power == "poweredOn").ref

    return call.vcenter.tasks.start(call, machine, work)


def _depth(machine: Machine) -> int:
    depth, here = 0, machine.current
    while here is not None:
        depth, here = depth + 1, here.parent
    return depth


@serves(vim.vm.Snapshot, "RemoveSnapshot_Task", REMOVE)
def remove_snapshot(call: Call, snapshot: Snapshot, removeChildren: bool, consolidate: bool | None = None) -> Any:
    def work(task: Task) -> None:
        task.progress(30)
        with snapshot.vcenter.changes.lock:
            if snapshot.moid not in snapshot.vcenter.objects:
                raise vmodl.fault.ManagedObjectNotFound(obj=snapshot.ref)
            remove(snapshot, children=removeChildren)

    return call.vcenter.tasks.start(call, snapshot.machine, work)


@serves(vim.VirtualMachine, "RemoveAllSnapshots_Task", REMOVE)
def remove_all(call: Call, machine: Machine, consolidate: bool | None = None, spec: Any = None) -> Any:
    def work(task: Task) -> None:
        with machine.vcenter.changes.lock:
            for each in list(machine.roots):
                remove(each, children=True)

    return call.vcenter.tasks.start(call, machine, work)


@serves(vim.VirtualMachine, "ConsolidateVMDisks_Task", REMOVE)
def consolidate_disks(call: Call, machine: Machine) -> Any:
    def work(task: Task) -> None:
        with machine.vcenter.changes.lock:
            consolidate(machine)
            if machine.consolidation_needed:
                raise vim.fault.FileLocked(file=next(iter(machine.disks.values())).layers[0].file_name)

    return call.vcenter.tasks.start(call, machine, work)


@serves(vim.vm.Snapshot, "RevertToSnapshot_Task", REVERT)
def revert_to(call: Call, snapshot: Snapshot, host: Any = None, suppressPowerOn: bool | None = None) -> Any:
    def work(task: Task) -> None:
        with snapshot.vcenter.changes.lock:
            revert(snapshot)

    return call.vcenter.tasks.start(call, snapshot.machine, work)


@serves(vim.VirtualMachine, "RevertToCurrentSnapshot_Task", REVERT)
def revert_to_current(call: Call, machine: Machine, host: Any = None, suppressPowerOn: bool | None = None) -> Any:
    if machine.current is None:
        raise vim.fault.NotFound(msg="the machine has no snapshot")
    return revert_to(call, machine.current)


@serves(vim.vm.Snapshot, "RenameSnapshot", "VirtualMachine.State.RenameSnapshot")
def rename_snapshot(call: Call, snapshot: Snapshot, name: str | None = None, description: str | None = None) -> None:
    snapshot.name = snapshot.name if name is None else name
    snapshot.description = snapshot.description if description is None else description
    snapshot.machine.touch()
