"""The disks of a machine as a backup has them: which are protected, and why the others are not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from vsa.hypervisors.vcenter.disks_seen import disks_seen

_Disk = vim.vm.device.VirtualDisk


@dataclass(frozen=True)
class MachineDisk:
    """One virtual disk. `reason` says why it is not protected."""

    key: str
    name: str
    device_key: int
    size: int
    file: str  # `[datastore] path`: of a snapshot's layer, where it was read from a snapshot
    change_id: str | None
    reason: str | None


def disks_of(config: Any, excluded: frozenset[str] = frozenset()) -> Iterator[MachineDisk]:
    """In the order of their device keys. `excluded` are keys or names."""
    devices = sorted((each for each in config.hardware.device if isinstance(each, _Disk)), key=lambda each: each.key)
    seen: set[str] = set()
    for device, disk in zip(devices, disks_seen(config.hardware.device), strict=True):
        reason = "the plan leaves it out" if disk.key in excluded or disk.name in excluded else disk.reason
        if disk.key in seen:
            reason = f"another disk of the machine has its uuid {disk.key} too"
        seen.add(disk.key)
        file = str(getattr(device.backing, "fileName", None) or "")
        change_id = getattr(device.backing, "changeId", None)
        yield MachineDisk(disk.key, disk.name, device.key, disk.size, file, change_id, reason)
