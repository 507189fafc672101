"""The disks of a machine as its configuration shows them, and which of them a snapshot cannot hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pyVmomi import vim

from vsa.hypervisors import DiskSeen

_KIB = 1024


def disks_seen(devices: Iterable[Any]) -> tuple[DiskSeen, ...]:
    """In the order of their device keys."""
    by_key = {device.key: device for device in devices}
    disks = [device for device in by_key.values() if isinstance(device, vim.vm.device.VirtualDisk)]
    return tuple(_seen(disk, by_key.get(disk.controllerKey)) for disk in sorted(disks, key=lambda each: each.key))


def disk_key(disk: Any) -> str:
    """What a disk is known by: its backing's uuid, which a rename, a move and a snapshot leave as it is."""
    backing = disk.backing
    uuid = getattr(backing, "uuid", None) or getattr(backing, "lunUuid", None)
    return str(uuid).lower() if uuid else f"device-{disk.key}"


def why_unprotected(disk: Any, controller: Any) -> str | None:
    """Why a snapshot of the machine does not hold this disk still; None where it does."""
    backing = disk.backing
    mode = str(getattr(backing, "diskMode", None) or "")
    if mode.startswith("independent"):
        return f"it is independent ({mode}), so snapshots leave it out"
    if str(getattr(backing, "compatibilityMode", None) or "") == "physicalMode":
        return "it is a raw device in physical mode, which snapshots leave out"
    if str(getattr(backing, "sharing", None) or "") == "sharingMultiWriter":
        return "other machines may write to it (multi-writer)"
    if str(getattr(controller, "sharedBus", None) or "noSharing") != "noSharing":
        return f"its bus is shared ({controller.sharedBus}), so other machines may write to it"
    if isinstance(backing, vim.vm.device.VirtualDisk.PartitionedRawDiskVer2BackingInfo):
        return "it is a partition of a raw device"
    return None


def _seen(disk: Any, controller: Any) -> DiskSeen:
    size = disk.capacityInBytes or (disk.capacityInKB or 0) * _KIB
    label = disk.deviceInfo.label if disk.deviceInfo is not None else f"disk {disk.key}"
    return DiskSeen(disk_key(disk), str(label), int(size), why_unprotected(disk, controller))
