"""Machines made, found again by their mark, looked at, and unmade.

A machine is made by one call, under its name in its folder, with a mark in its extraConfig that names the job. So
whoever comes again, after a crash or a lost answer, looks there first: what has the job's own mark is gone on with, and
nothing is made twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pyVmomi import vim

from vsa.faults import IdentityTaken, MachineExists, MachineMissing, MachineRunning, MachineUnlike, RestoreUnfit
from vsa.hypervisors.vcenter.connection import Connection
from vsa.hypervisors.vcenter.destination import Destination
from vsa.hypervisors.vcenter.devices import label
from vsa.hypervisors.vcenter.specification import MARK, places

Check = Callable[[], None]


def find_half_made(connection: Connection, destination: Destination, name: str, job: str) -> Any | None:
    """What an earlier attempt of this job left under this name; None where nothing is. Raises MachineExists."""
    found = connection.read(connection.content.searchIndex.FindChild, destination.folder, name)
    if found is None:
        return None
    mark = mark_of(connection, found) if isinstance(found, vim.VirtualMachine) else ""
    if mark == job:
        return found
    whose = f", half-made by the restore of job {mark}" if mark else ""
    raise MachineExists(f"{name}: expected nothing of this name in the folder, found one{whose}; --name names another")


def mark_of(connection: Connection, machine: Any) -> str:
    """The job that has it half-made; empty for a machine like any other."""
    return half_made_by(config_of(connection, machine))


def half_made_by(config: Any) -> str:
    """The same, told by its config."""
    return next((str(each.value) for each in config.extraConfig or [] if each.key == MARK), "")


def make(connection: Connection, destination: Destination, spec: Any, check: Check) -> Any:
    """The new machine."""
    folder = destination.folder
    return connection.tasks.run(folder, folder.CreateVM_Task, spec, destination.pool, None, check=check)


def reconfigure(connection: Connection, machine: Any, spec: Any, check: Check) -> None:
    """Change a machine; what the vCenter refuses is raised."""
    connection.tasks.run(machine, machine.ReconfigVM_Task, spec, check=check)


def must_grow(name: str, device: Any, size: int) -> bool:
    """Whether a disk that is there is smaller than the one that comes back. Raises RestoreUnfit: it is larger."""
    found = int(device.capacityInBytes)
    if found > size:
        raise RestoreUnfit(
            f"{label(device)} of {name}: expected at most {size} bytes, found {found}: vSphere makes no disk smaller; "
            "restore a new machine, or attach the disk"
        )
    return found < size


def check_growable(connection: Connection, machine: Any, name: str) -> None:
    """Raises RestoreUnfit: no disk of a machine with snapshots can grow."""
    if connection.properties(machine, "snapshot").get("snapshot") is not None:
        raise RestoreUnfit(f"{name}: expected no snapshots, because a disk must grow, found some; delete them first")


def grow(connection: Connection, machine: Any, disks: Sequence[tuple[Any, int]], check: Check) -> None:
    """Disks (devices) to so many bytes; what is new of them reads as zero."""
    changes = []
    for device, size in disks:
        device.capacityInBytes, device.capacityInKB = size, size // 1024
        changes.append(vim.vm.device.VirtualDeviceSpec(operation="edit", device=device))
    reconfigure(connection, machine, vim.vm.ConfigSpec(deviceChange=changes), check)


def unmake(connection: Connection, machine: Any) -> None:
    """The machine with its files, which only we wrote. Raises what the vCenter does."""
    if power_of(connection, machine) != "poweredOff":
        connection.tasks.run(machine, machine.PowerOffVM_Task)
    connection.tasks.run(machine, machine.Destroy_Task)


def config_of(connection: Connection, machine: Any) -> Any:
    """As it is now. Raises MachineMissing."""
    config = connection.properties(machine, "config").get("config")
    if config is None:
        raise MachineMissing(f"{connection.address}: machine {machine._moId} tells nothing of itself")
    return config


def power_of(connection: Connection, machine: Any) -> str:
    """`poweredOff`, `poweredOn`, `suspended`."""
    return str(connection.properties(machine, "runtime.powerState").get("runtime.powerState"))


def turn_off(connection: Connection, machine: Any, name: str, *, allowed: bool, check: Check) -> None:
    """At once, without asking the guest. Raises MachineRunning unless that is allowed."""
    state = power_of(connection, machine)
    if state == "poweredOff":
        return
    if not allowed:
        raise MachineRunning(f"{name}: expected it turned off, found it {state}; --power-off turns it off")
    connection.tasks.run(machine, machine.PowerOffVM_Task, check=check)


def turn_on(connection: Connection, machine: Any, check: Check) -> None:
    """Unless it is on: a call whose answer was lost may have done it."""
    if power_of(connection, machine) != "poweredOn":
        connection.tasks.run(machine, machine.PowerOnVM_Task, None, check=check)


def check_identity(connection: Connection, config: Any) -> None:
    """Nobody here has its uuids or its MAC addresses. Raises IdentityTaken."""
    index = connection.content.searchIndex
    for kind, uuid, is_instance in (("instance uuid", config.instanceUuid, True), ("bios uuid", config.uuid, False)):
        if uuid and connection.read(index.FindAllByUuid, None, uuid, True, is_instance):
            raise IdentityTaken(f"{kind} {uuid}: a machine here has it; without --keep-identity a copy gets another")
    ours = {str(card.macAddress).lower() for card in _cards(config) if card.macAddress}
    for _, about in connection.retrieve(vim.VirtualMachine, ["name", "config.hardware.device"]):
        for device in about.get("config.hardware.device") or []:
            mac = str(getattr(device, "macAddress", None) or "").lower()
            if mac in ours:
                raise IdentityTaken(f"MAC address {mac}: machine {about['name']} has it")


def check_like(spec: Any, made: Any) -> None:
    """That a machine with config `made` has what `spec` asked for. Raises MachineUnlike."""
    own = [vim.vm.device.VirtualIDEController(key=200 + bus, busNumber=bus) for bus in (0, 1)]
    wanted = places([*own, *[change.device for change in spec.deviceChange]])
    there = places(made.hardware.device)
    for place, device in wanted.items():
        found = there.get(place)
        if found is None:
            raise MachineUnlike(f"{made.name}: expected {type(device).__name__} at {place}, found nothing")
        if isinstance(device, vim.vm.device.VirtualDisk) and found.capacityInBytes != device.capacityInBytes:
            raise MachineUnlike(
                f"{made.name}: disk at {place}: expected {device.capacityInBytes} bytes, found {found.capacityInBytes}"
            )
    for what, expected, found in (
        ("processors", spec.numCPUs, made.hardware.numCPU),
        ("MiB of memory", spec.memoryMB, made.hardware.memoryMB),
        ("firmware", spec.firmware, made.firmware),
    ):
        if expected is not None and expected != found:
            raise MachineUnlike(f"{made.name}: {what}: expected {expected}, found {found}")


def _cards(config: Any) -> list[Any]:
    return [each for each in config.hardware.device if isinstance(each, vim.vm.device.VirtualEthernetCard)]
