"""A machine of a vCenter that takes disks in: a new one, one that is there, or one that gets further disks.

new        look everything up -> make it, marked -> disks -> nvram -> late settings, the mark goes -> look -> on
in place   find it -> off -> mark -> disks, only what differs -> the mark goes -> on
attach     find it -> off -> add disks with files of names of our own -> disks -> on
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from media.disk import Disk
from media.faults import SourceFault
from media.recovery_point import JSON
from proto.agent.work import LeaseLost
from runtime.faults import Fault
from runtime.logs import log
from vsa.faults import DescriptionInvalid, HypervisorFailed, MachineMissing, RestoreUnfit
from vsa.hypervisors.receiving import DiskWanted, OpenTarget, Order
from vsa.hypervisors.vcenter import creation
from vsa.hypervisors.vcenter.connection import Connection
from vsa.hypervisors.vcenter.datastore_files import write_file
from vsa.hypervisors.vcenter.description import Saved, read_saved
from vsa.hypervisors.vcenter.destination import (
    Destination,
    check_hardware,
    check_room,
    choose_datastore,
    choose_network,
    find_destination,
)
from vsa.hypervisors.vcenter.devices import Placing, datastore_name, disk_key, new_disk
from vsa.hypervisors.vcenter.profiles import choose_profiles
from vsa.hypervisors.vcenter.specification import MARK, late, places, same_devices, specify
from vsa.hypervisors.vcenter.tagging import attach_tags
from vsa.hypervisors.vcenter.transport import DiskPlace, Transport

_UNITS = [unit for unit in range(16) if unit != 7]  # 7 is the controller itself


@dataclass(frozen=True)
class _Disk:
    place: DiskPlace
    empty: bool


class ReceivedMachine:
    """A `Received`. Belongs to the thread of its job, but for the disks that it gives out."""

    def __init__(self, connection: Connection, transport: Transport, order: Order, machine: Any) -> None:
        self._connection = connection
        self._transport = transport
        self._order = order
        self.machine = machine
        self.disks: dict[int, _Disk] = {}
        self.completing: list[Any] = []  # what is to be done when the disks are there, in order

    @property
    def about(self) -> JSON:
        found = self._connection.properties(self.machine, "name", "config.instanceUuid")
        uuid = str(found.get("config.instanceUuid") or "").lower()
        return {
            "machine": f"{self._connection.instance_uuid}:{uuid}",
            "name": str(found.get("name", "")),
            "moref": str(self.machine._moId),
            "transport": self._transport.name,
        }

    def is_empty(self, number: int) -> bool:
        return self.disks[number].empty

    @contextmanager
    def overwritten(self, number: int) -> Iterator[OpenTarget]:
        disk = self.disks[number]
        target = self._transport.overwrite(disk.place, reads_zero=disk.empty)
        try:
            yield target
        finally:
            target.close()

    @contextmanager
    def read(self, number: int) -> Iterator[Disk]:
        disk = self._transport.open(self.disks[number].place)
        try:
            yield disk
        finally:
            disk.close()

    def complete(self) -> None:
        for step in self.completing:
            step()
        if self._order.power_on:
            try:
                creation.turn_on(self._connection, self.machine, self._order.check)
            except SourceFault as fault:  # it is all there: nothing to remove, and nothing to do again
                self._order.warn(f"it is restored, and cannot be turned on: {fault}")

    def take(self, wanted: DiskWanted, device: Any, *, empty: bool) -> None:
        """A disk of the recovery point has its place now."""
        place = DiskPlace(str(self.machine._moId), "", device.key, device.backing.fileName, wanted.size)
        self.disks[wanted.number] = _Disk(place, empty)


@contextmanager
def receiving(connection: Connection, transport: Transport, order: Order) -> Iterator[ReceivedMachine]:
    """As `vsa.hypervisors.receiving` says.

    Raises PlaceMissing, HardwareUnsupported, DatastoreFull, IdentityTaken, MachineExists, MachineRunning, RestoreUnfit,
    DescriptionInvalid, MachineMissing, MachineUnlike and what the vCenter does.
    """
    saved = read_saved(order.description)
    ways = {"new": _new, "in_place": _in_place, "attach": _attach}
    with ways[order.how](connection, transport, order, saved) as received:
        yield received


@contextmanager
def _new(connection: Connection, transport: Transport, order: Order, saved: Saved) -> Iterator[ReceivedMachine]:
    destination = find_destination(connection, order.pool, saved.pool, order.folder, saved.folder)
    check_hardware(destination, saved.config.version)
    name = order.name or saved.name
    spec = _specification(connection, destination, order, saved, name)
    half_made = creation.find_half_made(connection, destination, name, order.job)
    if half_made is None:
        if order.keep_identity:
            creation.check_identity(connection, saved.config)
        order.check()
        machine = _made(connection, destination, spec, order)
    else:
        machine = half_made
    received = ReceivedMachine(connection, transport, order, machine)
    try:
        made = creation.config_of(connection, machine)
        creation.check_like(spec, made)
        own = same_devices(saved.config.hardware.device, made.hardware.device)
        device_by_key = {device.key: device for device in made.hardware.device}
        for wanted, device in zip(order.disks, _saved_disks(saved, order.disks), strict=True):
            received.take(wanted, device_by_key[own[device.key]], empty=half_made is None)
        received.completing = [
            lambda: _put_nvram(connection, destination, order, saved, made),
            lambda: _set_late(connection, machine, order, late(saved.config, made)),
            lambda: _put_custom_values(connection, machine, order, saved),
            lambda: _put_tags(connection, machine, order, saved),
            lambda: creation.check_like(spec, creation.config_of(connection, machine)),
        ]
        yield received
    except LeaseLost:
        raise  # somebody else goes on with it
    except BaseException:
        _give_up(connection, machine, name, order)
        raise


def _made(connection: Connection, destination: Destination, spec: Any, order: Order) -> Any:
    try:
        return creation.make(connection, destination, spec, order.check)
    except LeaseLost:
        raise
    except BaseException:
        # It may be there all the same: made before it was cancelled, or before the answer was lost.
        with suppress(Fault):
            found = creation.find_half_made(connection, destination, spec.name, order.job)
            if found is not None:
                _give_up(connection, found, spec.name, order)
        raise


def _specification(connection: Connection, destination: Destination, order: Order, saved: Saved, name: str) -> Any:
    """What makes the machine; what does not come back is a warning."""
    backings = {
        card.key: choose_network(connection, destination, saved.networks.get(card.key, ""), order.networks)
        for card in saved.config.hardware.device
        if isinstance(card, vim.vm.device.VirtualEthernetCard)
    }
    keys = frozenset(disk.key for disk in order.disks)
    profiles = choose_profiles(connection, saved.policies, order.policies, keys)
    if saved.policies.unread and "" not in order.policies:
        order.warn(f"it comes back under no storage policy of its own, they were not read: {saved.policies.unread}")
    placing = Placing(
        datastore=lambda there: choose_datastore(destination, there, order.datastores),
        network=backings.get,
        disks=keys,
        thin=order.thin,
        keep_macs=order.keep_identity,
        policies=profiles.disks,
    )
    made = specify(saved.config, name, placing, keep_identity=order.keep_identity, mark=order.job)
    home = choose_datastore(destination, datastore_name(saved.config.files.vmPathName or ""), order.datastores)
    made.first.files = vim.vm.FileInfo(vmPathName=f"[{home}]")
    made.first.vmProfile = list(profiles.home)
    check_room(destination, _wanted_bytes(made.first, order.disks, saved))
    for lost in made.lost:
        order.warn(lost)
    return made.first


def _wanted_bytes(spec: Any, disks: Sequence[DiskWanted], saved: Saved) -> dict[str, int]:
    """By datastore: all of a thick disk, of a thin one what is written."""
    wanted: dict[str, int] = defaultdict(int)
    by_device = {-device.key: disk for disk, device in zip(disks, _saved_disks(saved, disks), strict=True)}
    for change in spec.deviceChange:
        disk = by_device.get(change.device.key)
        if disk is not None:
            backing = change.device.backing
            wanted[datastore_name(backing.fileName)] += disk.data_bytes if backing.thinProvisioned else disk.size
    return wanted


def _saved_disks(saved: Saved, disks: Sequence[DiskWanted]) -> list[Any]:
    """The devices that these disks were. Raises DescriptionInvalid."""
    kind = vim.vm.device.VirtualDisk
    by_key = {disk_key(each): each for each in saved.config.hardware.device if isinstance(each, kind)}
    missing = [disk.key for disk in disks if disk.key not in by_key]
    if missing:
        raise DescriptionInvalid(f"disks: expected a device for each, found none for {missing[0]}")
    return [by_key[disk.key] for disk in disks]


def _set_late(connection: Connection, machine: Any, order: Order, spec: Any) -> None:
    """Late settings, and the mark goes; where they are refused, only that."""
    try:
        creation.reconfigure(connection, machine, spec, order.check)
    except HypervisorFailed as fault:
        order.warn(f"its boot order and its video card's settings do not come back: {fault}")
        _mark(connection, machine, "", order)


def _put_nvram(connection: Connection, destination: Destination, order: Order, saved: Saved, made: Any) -> None:
    """Before it is first turned on, or it makes its own. A warning where that fails: the machine is there."""
    if saved.nvram is None:
        if saved.config.firmware == "efi":
            order.warn("its nvram was not kept: it boots by the defaults of its firmware")
        return
    home = made.files.vmPathName
    name = next((each.value for each in made.extraConfig or [] if each.key == "nvram"), None)
    path = f"{home.rpartition('/')[0]}/{name}" if name else home.removesuffix(".vmx") + ".nvram"
    try:
        write_file(connection, destination.datacenter, path, saved.nvram)
    except Fault as fault:
        order.warn(f"its nvram is not restored, it boots by the defaults of its firmware: {fault}")


def _put_custom_values(connection: Connection, machine: Any, order: Order, saved: Saved) -> None:
    fields = connection.properties(machine, "availableField").get("availableField") or []
    key_by_name = {field.name: field.key for field in fields}
    manager = connection.content.customFieldsManager
    for name, value in saved.custom_values.items():
        if name not in key_by_name:
            order.warn(f"its custom attribute {name!r} does not come back: this vCenter has none of that name")
            continue
        try:
            connection.call(manager.SetField, machine, key_by_name[name], value)
        except Fault as fault:
            order.warn(f"its custom attribute {name!r} does not come back: {fault}")


def _put_tags(connection: Connection, machine: Any, order: Order, saved: Saved) -> None:
    if not saved.tags:
        return
    try:
        missing = attach_tags(connection.rest, str(machine._moId), saved.tags) if connection.is_vcenter else saved.tags
    except Fault as fault:
        order.warn(f"its tags do not come back: {fault}")
        return
    if missing:
        order.warn(f"its tags {', '.join(missing)} do not come back: this vCenter has none of that name")


def _give_up(connection: Connection, machine: Any, name: str, order: Order) -> None:
    """Nothing half-made stays, or it is told."""
    try:
        creation.unmake(connection, machine)
    except MachineMissing:
        return
    except Fault as fault:
        order.warn(f"{name} is left half-made; delete it: {fault}")
        log().warning("half-made machine left", name=name, moref=machine._moId, code=fault.code, message=str(fault))


def _find(connection: Connection, machine_id: str) -> Any:
    """By its instance uuid, in whichever vCenter it was backed up. Raises MachineMissing, RestoreUnfit."""
    uuid = machine_id.rpartition(":")[2]
    found = connection.read(connection.content.searchIndex.FindAllByUuid, None, uuid, True, True) or []
    if not found:
        raise MachineMissing(f"{connection.address}: expected a machine with instance uuid {uuid}, found none")
    if len(found) > 1:
        raise RestoreUnfit(f"{connection.address}: expected one machine with instance uuid {uuid}, found {len(found)}")
    return found[0]


@contextmanager
def _in_place(connection: Connection, transport: Transport, order: Order, saved: Saved) -> Iterator[ReceivedMachine]:
    machine = _find(connection, order.machine)
    config = creation.config_of(connection, machine)
    received = ReceivedMachine(connection, transport, order, machine)
    growing = []
    for wanted, device in zip(order.disks, _present_disks(config, saved, order.disks), strict=True):
        if creation.must_grow(config.name, device, wanted.size):
            growing.append((device, wanted.size))
        received.take(wanted, device, empty=False)
    if growing:
        creation.check_growable(connection, machine, config.name)
    creation.turn_off(connection, machine, config.name, allowed=order.power_off, check=order.check)
    if growing:  # before the mark: whoever comes again finds them grown, and nothing is overwritten yet
        creation.grow(connection, machine, growing, order.check)
    _mark(connection, machine, order.job, order)
    received.completing = [lambda: _mark(connection, machine, "", order)]
    try:
        yield received
    except BaseException:
        order.warn(f"disks of {config.name} are overwritten in part; restore again before it is turned on")
        raise


def _present_disks(config: Any, saved: Saved, disks: Sequence[DiskWanted]) -> list[Any]:
    """The disks that are there: by uuid, else by where they are in the machine. Raises RestoreUnfit."""
    kind = vim.vm.device.VirtualDisk
    by_key = {disk_key(each): each for each in config.hardware.device if isinstance(each, kind)}
    there, was = places(config.hardware.device), places(saved.config.hardware.device)
    place_by_key = {disk_key(each): place for place, each in was.items() if isinstance(each, kind)}
    found = []
    for disk in disks:
        device = by_key.get(disk.key) or there.get(place_by_key.get(disk.key, ()))
        if device is None:
            raise RestoreUnfit(f"{config.name}: expected a disk {disk.key}, or one where it was, found none")
        found.append(device)
    return found


def _mark(connection: Connection, machine: Any, value: str, order: Order) -> None:
    spec = vim.vm.ConfigSpec(extraConfig=[vim.option.OptionValue(key=MARK, value=value)])
    creation.reconfigure(connection, machine, spec, order.check)


@contextmanager
def _attach(connection: Connection, transport: Transport, order: Order, saved: Saved) -> Iterator[ReceivedMachine]:
    if order.datastores or order.networks or order.policies or order.pool or order.folder:
        raise RestoreUnfit(
            "attach: expected no datastore, network, policy, pool or folder: disks go beside the machine's own"
        )
    machine = _find(connection, order.machine)
    config = creation.config_of(connection, machine)
    home = config.files.vmPathName.rpartition("/")[0]
    file_by_number = {disk.number: f"{home}/ingot-{order.job}-{disk.number}.vmdk" for disk in order.disks}
    before = _disk_by_file(config)
    new = [disk for disk in order.disks if file_by_number[disk.number] not in before]
    changes = []
    slots = _free_slots(config, len(new))
    for disk, device, (controller, unit) in zip(new, _saved_disks(saved, new), slots, strict=True):
        change: Any = new_disk(device, Placing(lambda name: name, lambda _: None, frozenset(), order.thin), controller)
        change.device.unitNumber = unit
        change.device.backing.fileName = file_by_number[disk.number]  # so that it is found again
        changes.append(change)
    creation.turn_off(connection, machine, config.name, allowed=order.power_off, check=order.check)
    received = ReceivedMachine(connection, transport, order, machine)
    try:
        if changes:
            creation.reconfigure(connection, machine, vim.vm.ConfigSpec(deviceChange=changes), order.check)
        after = _disk_by_file(creation.config_of(connection, machine))
        for disk in order.disks:
            received.take(disk, after[file_by_number[disk.number]], empty=disk in new)
        yield received
    except LeaseLost:
        raise  # somebody else goes on with it
    except BaseException:
        _detach(connection, machine, config.name, list(file_by_number.values()), order)
        raise


def _disk_by_file(config: Any) -> dict[str, Any]:
    kind: Any = vim.vm.device.VirtualDisk
    return {str(each.backing.fileName): each for each in config.hardware.device if isinstance(each, kind)}


def _free_slots(config: Any, count: int) -> list[tuple[int, int]]:
    """Controller and unit, on the SCSI controllers that are there. Raises RestoreUnfit."""
    devices = config.hardware.device
    taken = {(each.controllerKey, each.unitNumber) for each in devices}
    controllers = [each.key for each in devices if isinstance(each, vim.vm.device.VirtualSCSIController)]
    free = [(key, unit) for key in controllers for unit in _UNITS if (key, unit) not in taken]
    if len(free) < count:
        raise RestoreUnfit(f"{config.name}: expected {count} free places on its SCSI controllers, found {len(free)}")
    return free[:count]


def _detach(connection: Connection, machine: Any, name: str, files: list[str], order: Order) -> None:
    """Take away disks that only we wrote, with their files."""
    try:
        there = _disk_by_file(creation.config_of(connection, machine))
        changes = [
            vim.vm.device.VirtualDeviceSpec(operation="remove", fileOperation="destroy", device=there[file])
            for file in files
            if file in there
        ]
        if changes:
            connection.tasks.run(machine, machine.ReconfigVM_Task, vim.vm.ConfigSpec(deviceChange=changes))
    except Fault as fault:
        order.warn(f"disks {', '.join(files)} are left half-made at {name}; remove them: {fault}")
