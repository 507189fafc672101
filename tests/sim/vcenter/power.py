"""Power, names, templates."""

from __future__ import annotations

from typing import Any

from pyVmomi import vim

from tests.sim.vcenter.events import happened
from tests.sim.vcenter.inventory import Entity, Folder
from tests.sim.vcenter.machine import Machine
from tests.sim.vcenter.objects import Call, serves
from tests.sim.vcenter.snapshots import every_snapshot, stun
from tests.sim.vcenter.tasks import Task


def turn(machine: Machine, power: str) -> None:
    """With the lock held."""
    if power == "poweredOn":
        stun(machine)
    machine.power = power
    machine.tools_running = power == "poweredOn"
    machine.refresh_disks()
    machine.touch()


_EVENTS = {
    "poweredOn": vim.event.VmPoweredOnEvent,
    "poweredOff": vim.event.VmPoweredOffEvent,
    "suspended": vim.event.VmSuspendedEvent,
}


def _turn_by_task(call: Call, machine: Machine, power: str) -> Any:
    if machine.config.template:
        raise vim.fault.InvalidState(msg="The operation is not allowed in the current state: it is a template.")
    if machine.power == power:
        raise vim.fault.InvalidPowerState(requestedState=power, existingState=machine.power)

    def work(task: Task) -> None:
        with machine.vcenter.changes.lock:
            turn(machine, power)
            happened(call, _EVENTS[power], machine, template=False)

    return call.vcenter.tasks.start(call, machine, work)


@serves(vim.VirtualMachine, "PowerOnVM_Task", "VirtualMachine.Interact.PowerOn")
def power_on(call: Call, machine: Machine, host: Any = None) -> Any:
    return _turn_by_task(call, machine, "poweredOn")


@serves(vim.VirtualMachine, "PowerOffVM_Task", "VirtualMachine.Interact.PowerOff")
def power_off(call: Call, machine: Machine) -> Any:
    return _turn_by_task(call, machine, "poweredOff")


@serves(vim.VirtualMachine, "SuspendVM_Task", "VirtualMachine.Interact.Suspend")
def suspend(call: Call, machine: Machine) -> Any:
    return _turn_by_task(call, machine, "suspended")


@serves(vim.VirtualMachine, "ShutdownGuest", "VirtualMachine.Interact.PowerOff")
def shut_down(call: Call, machine: Machine) -> None:
    if machine.power != "poweredOn":
        raise vim.fault.InvalidPowerState(requestedState="poweredOn", existingState=machine.power)
    if not machine.tools_running:
        raise vim.fault.ToolsUnavailable()
    turn(machine, "poweredOff")


@serves(vim.ManagedEntity, "Rename_Task")
def rename(call: Call, entity: Entity, newName: str) -> Any:
    call.vcenter.authorization.need(call.user, _rename_privilege(entity), entity)

    def work(task: Task) -> None:
        with entity.vcenter.changes.lock:
            siblings = entity.parent.children if isinstance(entity.parent, Folder) else []
            same = next((each for each in siblings if each.name == newName and each is not entity), None)
            if same is not None:
                raise vim.fault.DuplicateName(name=newName, object=same.ref)
            entity.rename(newName)

    return call.vcenter.tasks.start(call, entity, work)


def _rename_privilege(entity: Entity) -> str:
    return "VirtualMachine.Config.Rename" if isinstance(entity, Machine) else "Folder.Rename"


@serves(vim.ManagedEntity, "Destroy_Task")
def destroy(call: Call, entity: Entity) -> Any:
    if not isinstance(entity, Machine):
        call.vcenter.authorization.need(call.user, "Folder.Delete", entity)
        if list(entity.contained()):
            raise vim.fault.InvalidState(msg="only empty folders are destroyed here")
    else:
        call.vcenter.authorization.need(call.user, "VirtualMachine.Inventory.Delete", entity)
        if entity.power == "poweredOn":
            raise vim.fault.InvalidPowerState(requestedState="poweredOff", existingState=entity.power)

    def work(task: Task) -> None:
        with entity.vcenter.changes.lock:
            happened(call, vim.event.VmRemovedEvent, entity, template=False)
            take_away(entity, with_files=True)

    return call.vcenter.tasks.start(call, entity, work)


@serves(vim.VirtualMachine, "UnregisterVM", "VirtualMachine.Inventory.Unregister")
def unregister(call: Call, machine: Machine) -> None:
    if machine.power == "poweredOn":
        raise vim.fault.InvalidPowerState(requestedState="poweredOff", existingState=machine.power)
    take_away(machine, with_files=False)


def take_away(entity: Entity, *, with_files: bool) -> None:
    """Out of the inventory. With the lock held."""
    if isinstance(entity.parent, Folder):
        entity.parent.children.remove(entity)
        entity.parent.touch()
    if isinstance(entity, Machine):
        entity.host.machines.remove(entity)
        if entity.pool is not None:
            entity.pool.machines.remove(entity)
            entity.pool.touch()
        for snapshot in every_snapshot(entity):
            entity.vcenter.forget(snapshot.moid)
        if with_files:
            for layer in {layer for disk in entity.disks.values() for layer in disk.layers}:
                layer.remove()
            _remove_small_files(entity)
    entity.vcenter.forget(entity.moid)
    entity.vcenter.changes.note_structure()


def _remove_small_files(machine: Machine) -> None:
    store = machine.vcenter.datastore_of(machine.config.files.vmPathName)
    home = store.path / machine.config.files.vmPathName.partition("]")[2].strip().rpartition("/")[0]
    for suffix in (".vmx", ".nvram", ".vmdk"):
        for file in home.glob(f"*{suffix}") if home != store.path else ():
            if not file.name.endswith(("-flat.vmdk", "-sesparse.vmdk")):
                file.unlink()


@serves(vim.VirtualMachine, "MarkAsTemplate", "VirtualMachine.Provisioning.MarkAsTemplate")
def mark_as_template(call: Call, machine: Machine) -> None:
    if machine.power != "poweredOff":
        raise vim.fault.InvalidPowerState(requestedState="poweredOff", existingState=machine.power)
    machine.config.template = True
    if machine.pool is not None:
        machine.pool.machines.remove(machine)
        machine.pool = None
    machine.touch()


@serves(vim.VirtualMachine, "MarkAsVirtualMachine", "VirtualMachine.Provisioning.MarkAsVM")
def mark_as_machine(call: Call, machine: Machine, pool: Any, host: Any = None) -> None:
    if not machine.config.template:
        raise vim.fault.InvalidState(msg="it is no template")
    machine.config.template = False
    machine.pool = call.vcenter.need(pool)
    machine.pool.machines.append(machine)
    machine.touch()
