"""Devices added to a machine, changed, and taken away."""

from __future__ import annotations

import uuid
from typing import Any

from pyVmomi import vim, vmodl

from tests.sim.vcenter.clone import clone
from tests.sim.vcenter.disks import Disk, Layer
from tests.sim.vcenter.hardware import Dev
from tests.sim.vcenter.machine import Machine
from tests.sim.vcenter.snapshots import every_snapshot


def _add(machine: Machine, change: Any) -> None:
    device = clone(change.device)
    devices = machine.config.hardware.device
    wanted = device.key
    device.key = _free_key(machine, device)
    if isinstance(device, Dev.VirtualDisk):
        if device.unitNumber is None or any(
            each.controllerKey == device.controllerKey and each.unitNumber == device.unitNumber for each in devices
        ):
            raise vim.fault.InvalidDeviceSpec(deviceIndex=0, property="unitNumber")
        if machine.device(_real_key(machine, device.controllerKey)) is None:
            raise vim.fault.InvalidController(deviceIndex=0, controllerKey=device.controllerKey)
        device.controllerKey = _real_key(machine, device.controllerKey)
        _add_disk(machine, device, str(change.fileOperation or ""))
    elif isinstance(device, Dev.VirtualEthernetCard):
        _add_card(machine, device)
    elif device.controllerKey is not None:
        device.controllerKey = _real_key(machine, device.controllerKey)
    if device.deviceInfo is None or not device.deviceInfo.label:
        device.deviceInfo = vim.Description(label=_label(device), summary=_label(device))
    machine.new_keys[wanted] = device.key
    devices.append(device)
    controller = machine.device(device.controllerKey) if device.controllerKey is not None else None
    if controller is not None and hasattr(controller, "device"):
        controller.device.append(device.key)


def _real_key(machine: Machine, key: int) -> int:
    """The key that a device got which the same specification added under a key of its own."""
    return int(machine.new_keys.get(key, key))


_FIRST_KEYS: tuple[tuple[Any, int], ...] = (
    (Dev.VirtualDisk, 2000),
    (Dev.VirtualEthernetCard, 4000),
    (Dev.VirtualSCSIController, 1000),
    (Dev.VirtualIDEController, 200),
    (Dev.VirtualAHCIController, 15000),
    (Dev.VirtualNVMEController, 31000),
    (Dev.VirtualUSBController, 7000),
    (Dev.VirtualUSBXHCIController, 14000),
    (Dev.VirtualCdrom, 16000),
    (Dev.VirtualFloppy, 8000),
    (Dev.VirtualSerialPort, 9000),
    (Dev.VirtualTPM, 11000),
)


def _free_key(machine: Machine, device: Any) -> int:
    taken = {each.key for each in machine.config.hardware.device}
    if device.key is not None and device.key > 0 and device.key not in taken:
        return int(device.key)
    key = next((first for kind, first in _FIRST_KEYS if isinstance(device, kind)), 13000)
    while key in taken:
        key += 1
    return key


def _label(device: Any) -> str:
    if isinstance(device, Dev.VirtualDisk):
        return f"Hard disk {device.key - 1999}"
    if isinstance(device, Dev.VirtualEthernetCard):
        return f"Network adapter {device.key - 3999}"
    if isinstance(device, Dev.VirtualController):
        return f"{device._wsdlName.removeprefix('Virtual')} {device.busNumber}"
    return f"{device._wsdlName.removeprefix('Virtual')} {device.key}"


def _add_disk(machine: Machine, device: Any, operation: str) -> None:
    vcenter = machine.vcenter
    backing = device.backing
    size = device.capacityInBytes or (device.capacityInKB or 0) * 1024
    home = machine.config.files.vmPathName
    name = backing.fileName or ""
    store = vcenter.datastore_of(name if name.startswith("[") else home)
    path = name.partition("]")[2].strip()
    if operation == "create":
        if size <= 0:
            raise vmodl.fault.InvalidArgument(invalidProperty="capacityInKB")
        if not backing.thinProvisioned and store.free_bytes < size:
            raise vim.fault.NoDiskSpace(datastore=store.name, file=home)
        if not path.endswith(".vmdk"):
            path = _free_path(machine, store, path)
        layer = Layer(store, path, is_base=True)
        if layer.file_name in vcenter.disk_files():
            raise vim.fault.FileAlreadyExists(file=layer.file_name)
        backing.uuid = backing.uuid or str(uuid.uuid4())
        disk = machine.new_disk(device.key, backing.uuid.lower(), size, layer)
    else:
        disk = _existing(machine, store, path, device.key)
        size = disk.size
    disk.is_independent = str(backing.diskMode).startswith("independent")
    device.capacityInBytes, device.capacityInKB = size, size // 1024
    backing.uuid, backing.fileName = disk.uuid, disk.layers[-1].file_name
    backing.contentId = backing.contentId or disk.uuid.replace("-", "")
    backing.sharing = backing.sharing or "sharingNone"
    if backing.thinProvisioned is None:
        backing.thinProvisioned = False
    if device.storageIOAllocation is None:
        device.storageIOAllocation = vim.StorageResourceManager.IOAllocationInfo(
            limit=-1, shares=vim.SharesInfo(shares=1000, level="normal"), reservation=0
        )
    machine.disks[device.key] = disk
    if machine.config.changeTrackingEnabled and any(each.tracking.is_active for each in machine.disks.values()):
        disk.tracking.activate()


def _free_path(machine: Machine, store: Any, directory: str) -> str:
    files = machine.config.files.vmPathName
    stem = files.partition("]")[2].strip().removesuffix(".vmx")
    if directory.strip("/"):
        stem = f"{directory.strip('/')}/{stem.rpartition('/')[2]}"
    taken = machine.vcenter.disk_files()
    number = 0
    while True:
        path = f"{stem}{f'_{number}' if number else ''}.vmdk"
        if f"[{store.name}] {path}" not in taken:
            return path
        number += 1


def _existing(machine: Machine, store: Any, path: str, key: int) -> Disk:
    """A disk that lies there: one that was detached, or another machine's, which both have then."""
    wanted = f"[{store.name}] {path}"
    for disk in machine.vcenter.loose_disks:
        if disk.layers[-1].file_name == wanted:
            machine.vcenter.loose_disks.remove(disk)
            disk.key = key
            return disk
    for other in machine.vcenter.machines():
        for disk in other.disks.values():
            if any(layer.file_name == wanted for layer in disk.layers):
                at = next(at for at, layer in enumerate(disk.layers) if layer.file_name == wanted)
                shared = Disk(key, disk.uuid, disk.size, disk.layers[0], f"{machine.moid}/{disk.uuid}")
                shared.layers = disk.layers[: at + 1]
                return shared
    raise vim.fault.FileNotFound(file=wanted)


def _add_card(machine: Machine, device: Any) -> None:
    kind = str(device.addressType or "generated").lower()
    if kind == "manual" and device.macAddress:
        pass
    else:
        fresh = uuid.uuid4().bytes
        device.macAddress = "00:50:56:" + bytes([0x80 | fresh[0] & 0x3F, fresh[1], fresh[2]]).hex(":")
        device.addressType = "assigned"
    device.controllerKey = 100
    if device.unitNumber is None:
        taken = {each.unitNumber for each in machine.config.hardware.device if each.controllerKey == 100}
        device.unitNumber = next(number for number in range(7, 17) if number not in taken)
    if machine.vcenter.network_of(device) is None:
        backing = device.backing
        name = getattr(backing, "deviceName", None)
        found = next((each for each in machine.vcenter.networks() if each.name == name), None)
        if found is None:
            raise vim.fault.InvalidDeviceBacking(deviceIndex=0, property="deviceChange.device.backing")
        backing.network = found.ref


def _edit(machine: Machine, change: Any) -> None:
    device = change.device
    current = machine.device(device.key)
    if current is None:
        raise vim.fault.InvalidDeviceSpec(deviceIndex=0, property="deviceChange.device.key")
    if isinstance(current, Dev.VirtualDisk):
        disk = machine.disks[device.key]
        size = device.capacityInBytes or (device.capacityInKB or 0) * 1024
        if size and size != disk.size:
            grow(machine, disk, size)
        if device.backing is not None and device.backing.diskMode:
            current.backing.diskMode = device.backing.diskMode
            disk.is_independent = str(device.backing.diskMode).startswith("independent")
        return
    devices = machine.config.hardware.device
    devices[devices.index(current)] = clone(device)


def grow(machine: Machine, disk: Disk, size: int) -> None:
    """Resize. Raises InvalidDeviceOperation for what ESXi refuses: less than before, or with snapshots."""
    if size < disk.size or every_snapshot(machine):
        raise vim.fault.InvalidDeviceOperation(deviceIndex=0, badOp="edit")
    disk.tracking.resized(disk.size, size)
    disk.size = size
    device = machine.device(disk.key)
    device.capacityInBytes, device.capacityInKB = size, size // 1024
    device.deviceInfo.summary = f"{size // 1024:,} KB"


def _remove(machine: Machine, change: Any) -> None:
    current = machine.device(change.device.key)
    if current is None:
        raise vim.fault.InvalidDeviceSpec(deviceIndex=0, property="deviceChange.device.key")
    machine.config.hardware.device.remove(current)
    disk = machine.disks.pop(current.key, None)
    if disk is not None:
        if str(change.fileOperation or "") == "destroy":
            for layer in disk.layers:
                layer.remove()
        else:
            disk.tracking.deactivate()
            machine.vcenter.loose_disks.append(disk)


DEVICE_CHANGES = {"add": _add, "edit": _edit, "remove": _remove}
