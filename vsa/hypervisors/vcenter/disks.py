"""The disks of a machine as a backup has them: which are protected, and why the others are not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from vsa.hypervisors.vcenter.changed_areas import parse_change_id
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
    change_id: str | None  # as a recovery point has it; None where a host tells none, or another kind
    reason: str | None


def disks_of(config: Any, excluded: frozenset[str] = frozenset(), vcenter: str = "") -> Iterator[MachineDisk]:
    """In the order of their device keys. `excluded` are keys or names; `vcenter` is whose change ids these are."""
    devices = sorted((each for each in config.hardware.device if isinstance(each, _Disk)), key=lambda each: each.key)
    seen: set[str] = set()
    for device, disk in zip(devices, disks_seen(config.hardware.device), strict=True):
        reason = "the plan leaves it out" if disk.key in excluded or disk.name in excluded else disk.reason
        if disk.key in seen:
            reason = f"another disk of the machine has its uuid {disk.key} too"
        seen.add(disk.key)
        file = str(getattr(device.backing, "fileName", None) or "")
        told = getattr(device.backing, "changeId", None)
        change_id = parse_change_id(told, vcenter)
        yield MachineDisk(disk.key, disk.name, device.key, disk.size, file, change_id and str(change_id), reason)
