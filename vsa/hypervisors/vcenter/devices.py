"""The devices of a machine as those of a new one: an allow-list, so that nothing comes back by accident.

New devices have negative keys until vSphere gives them their own: the old key, negated. Controllers come first and
disks last, because a disk names its controller. What vSphere puts into every machine by itself is left out, and what
cannot come back is told in words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyVmomi import vim

_BY_ITSELF = (
    vim.vm.device.VirtualPCIController,
    vim.vm.device.VirtualPS2Controller,
    vim.vm.device.VirtualSIOController,
    vim.vm.device.VirtualIDEController,
    vim.vm.device.VirtualKeyboard,
    vim.vm.device.VirtualPointingDevice,
    vim.vm.device.VirtualVideoCard,  # set by the late settings
    vim.vm.device.VirtualVMCIDevice,
)
_CONTROLLERS = (
    vim.vm.device.VirtualSCSIController,
    vim.vm.device.VirtualSATAController,
    vim.vm.device.VirtualNVMEController,
    vim.vm.device.VirtualUSBController,
    vim.vm.device.VirtualUSBXHCIController,
)
_RDM = (
    vim.vm.device.VirtualDisk.RawDiskMappingVer1BackingInfo,
    vim.vm.device.VirtualDisk.PartitionedRawDiskVer2BackingInfo,
)


@dataclass(frozen=True)
class Placing:
    """Where devices go, by what the machine that was saved calls its places."""

    datastore: Callable[[str], str]  # name of one there -> name of one here
    network: Callable[[int], Any]  # key of a card -> its new backing; None leaves the card out
    disks: frozenset[str]  # keys of the disks that come back
    thin: bool | None = None  # None: as it was
    keep_macs: bool = False
    policies: Mapping[str, Sequence[Any]] = field(default_factory=dict)  # key of a disk -> what puts it under one


@dataclass
class Devices:
    """`changes` make them, in order; `lost` says what does not come back."""

    changes: list[Any] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def disk_key(disk: Any) -> str:
    """What a disk is known by: the uuid of its backing; its object's id or its place where it has none."""
    uuid = getattr(disk.backing, "uuid", None)
    return str(uuid).lower() if uuid else str(disk.diskObjectId or f"device-{disk.key}")


def label(device: Any) -> str:
    """`Hard disk 1`."""
    info = device.deviceInfo
    return str(info.label) if info is not None and info.label else f"{_kind(device)} {device.key}"


def datastore_name(file_name: str) -> str:
    """`[ds1] web1/web1.vmdk` -> `ds1`."""
    return file_name.partition("]")[0].removeprefix("[") if file_name.startswith("[") else ""


def make_devices(devices: Sequence[Any], placing: Placing) -> Devices:
    """Of a whole machine."""
    made = Devices()
    ours = [device for device in devices if not isinstance(device, _BY_ITSELF)]
    for kinds, make in _MAKERS:
        for device in [each for each in ours if isinstance(each, kinds)]:
            new = make(device, placing, made.lost)
            if new is not None:
                made.changes.append(_added(new))
    made.changes += [_added_disk(disk, placing, made.lost) for disk in _disks(ours, placing, made.lost)]
    known = tuple(kind for kinds, _ in _MAKERS for kind in kinds)
    for device in ours:
        if not isinstance(device, (*known, vim.vm.device.VirtualDisk)):
            made.lost.append(f"{label(device)} ({_kind(device)}) does not come back")
    return made


def _disks(devices: Sequence[Any], placing: Placing, lost: list[str]) -> Iterator[Any]:
    for disk in devices:
        if isinstance(disk, vim.vm.device.VirtualDisk):
            if disk_key(disk) in placing.disks:
                yield disk
            else:
                lost.append(f"{label(disk)} does not come back: it is not among the disks that do")


def _added_disk(disk: Any, placing: Placing, lost: list[str]) -> Any:
    if isinstance(disk.backing, _RDM):
        lost.append(f"{label(disk)} comes back as a VMDK: it was a raw device")
    if getattr(disk.backing, "sharing", None) not in (None, "", "sharingNone"):
        lost.append(f"{label(disk)} comes back for one machine alone: it was shared")
    return new_disk(disk, placing, -disk.controllerKey if _is_made(disk.controllerKey) else disk.controllerKey)


def new_disk(disk: Any, placing: Placing, controller_key: int) -> Any:
    """The change that adds a disk like it, with a file of its own."""
    eager = bool(getattr(disk.backing, "eagerlyScrub", None))
    thin = bool(getattr(disk.backing, "thinProvisioned", None)) if placing.thin is None else placing.thin
    datastore = placing.datastore(datastore_name(disk.backing.fileName or ""))
    new = vim.vm.device.VirtualDisk(
        key=-disk.key,
        controllerKey=controller_key,
        unitNumber=disk.unitNumber,
        capacityInKB=_bytes(disk) // 1024,
        capacityInBytes=_bytes(disk),
        backing=vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
            fileName=f"[{datastore}]",
            diskMode="persistent",
            thinProvisioned=thin,
            eagerlyScrub=eager and not thin,
        ),
    )
    return _added(new, fileOperation="create", profile=list(placing.policies.get(disk_key(disk), ())))


def _bytes(disk: Any) -> int:
    return int(disk.capacityInBytes or disk.capacityInKB * 1024)


def _controller(device: Any, _placing: Placing, lost: list[str]) -> Any:
    new = type(device)(key=-device.key, busNumber=device.busNumber, slotInfo=device.slotInfo)
    if isinstance(device, vim.vm.device.VirtualSCSIController):
        new.sharedBus = "noSharing"
        if device.sharedBus not in (None, "noSharing"):
            lost.append(f"{label(device)} comes back without sharing its bus")
    return new


def _usb(device: Any, _placing: Placing, _lost: list[str]) -> Any:
    return type(device)(key=-device.key, autoConnectDevices=device.autoConnectDevices)


def _cdrom(device: Any, _placing: Placing, lost: list[str]) -> Any:
    if isinstance(device.backing, vim.vm.device.VirtualCdrom.IsoBackingInfo):
        lost.append(f"{label(device)} comes back empty: {device.backing.fileName} was in it")
    return vim.vm.device.VirtualCdrom(
        key=-device.key,
        controllerKey=-device.controllerKey if _is_made(device.controllerKey) else device.controllerKey,
        unitNumber=device.unitNumber,
        backing=vim.vm.device.VirtualCdrom.RemotePassthroughBackingInfo(deviceName="", exclusive=False),
        connectable=vim.vm.device.VirtualDevice.ConnectInfo(
            startConnected=False, allowGuestControl=True, connected=False
        ),
    )


def _card(device: Any, placing: Placing, lost: list[str]) -> Any:
    if isinstance(device, vim.vm.device.VirtualSriovEthernetCard):
        lost.append(f"{label(device)} does not come back: it is a host's own (SR-IOV)")
        return None
    backing = placing.network(device.key)
    if backing is None:
        lost.append(f"{label(device)} does not come back: its network is not known")
        return None
    new = type(device)(
        key=-device.key,
        backing=backing,
        slotInfo=device.slotInfo,  # guests name their cards by it
        wakeOnLanEnabled=device.wakeOnLanEnabled,
        addressType="generated",
    )
    if placing.keep_macs and device.macAddress:
        new.addressType, new.macAddress = "manual", device.macAddress
    was = device.connectable
    new.connectable = vim.vm.device.VirtualDevice.ConnectInfo(
        startConnected=was is None or bool(was.startConnected),
        allowGuestControl=was is None or bool(was.allowGuestControl),
        connected=False,
    )
    return new


_MAKERS: tuple[tuple[tuple[type, ...], Callable[[Any, Placing, list[str]], Any]], ...] = (
    (_CONTROLLERS[:3], _controller),
    (_CONTROLLERS[3:], _usb),
    ((vim.vm.device.VirtualCdrom,), _cdrom),
    ((vim.vm.device.VirtualEthernetCard,), _card),
)


def _is_made(controller_key: int) -> bool:
    """Whether we add this controller; IDE and PCI are there in every machine, with the same keys."""
    return controller_key >= 1000


def _added(device: Any, **more: Any) -> Any:
    return vim.vm.device.VirtualDeviceSpec(operation="add", device=device, **more)


def _kind(device: Any) -> str:
    return type(device).__name__.rpartition(".")[2]
