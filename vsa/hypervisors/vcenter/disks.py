"""The disks of a machine: which are protected, and why the others are not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

_Disk = vim.vm.device.VirtualDisk


@dataclass(frozen=True)
class MachineDisk:
    """One virtual disk. `reason` says why it is not protected."""

    key: str  # uuid of its backing
    name: str
    device_key: int
    size: int
    file: str  # `[datastore] path`, of a snapshot where it was read from one
    change_id: str | None
    reason: str | None


def disks_of(config: Any, excluded: frozenset[str] = frozenset()) -> Iterator[MachineDisk]:
    """In the order of the machine's devices. `excluded` are keys or names."""
    seen: set[str] = set()
    for device in config.hardware.device:
        if isinstance(device, _Disk):
            backing = device.backing
            key = str(getattr(backing, "uuid", None) or "").lower()
            name = str(device.deviceInfo.label) if device.deviceInfo else f"disk {device.key}"
            reason = _reason(device, key, name, excluded, seen)
            seen.add(key)
            size = int(device.capacityInBytes or device.capacityInKB * 1024)
            file = str(getattr(backing, "fileName", None) or "")
            change_id = getattr(backing, "changeId", None)
            yield MachineDisk(key or f"device-{device.key}", name, device.key, size, file, change_id, reason)


def _reason(device: Any, key: str, name: str, excluded: frozenset[str], seen: set[str]) -> str | None:
    backing = device.backing
    mode = str(getattr(backing, "diskMode", None) or "")
    sharing = str(getattr(backing, "sharing", None) or "sharingNone")
    if key in excluded or name in excluded:
        return "the plan leaves it out"
    if mode.startswith("independent"):
        return f"its mode is {mode}: snapshots leave it out"
    if isinstance(backing, _Disk.RawDiskMappingVer1BackingInfo) and backing.compatibilityMode == "physicalMode":
        return "it is a raw device in physical mode: snapshots leave it out"
    if sharing != "sharingNone":
        return f"it is shared ({sharing}): no snapshot holds the other writers still"
    if not key:
        return "its backing has no uuid to know it by"
    if key in seen:
        return f"another disk of the machine has its uuid {key} too"
    return None
