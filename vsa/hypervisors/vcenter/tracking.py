"""Change tracking of a machine: switched on, begun anew, and what it is worth for one disk.

Switching takes effect when the machine stands still for a moment, so a snapshot is made and removed after it; and only
while there is no snapshot, because one from before would be counted from wrongly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from media.extents import Extent
from media.session_log import ParentDisk
from vsa.faults import TrackingUnusable
from vsa.hypervisors.vcenter.changed_areas import ChangeId, changed_areas, parse_change_id
from vsa.hypervisors.vcenter.connection import Connection
from vsa.hypervisors.vcenter.disks import MachineDisk
from vsa.hypervisors.vcenter.marks import NAME


@dataclass(frozen=True)
class Changes:
    """What of a disk is to be read. `extents` None: all, for this reason."""

    extents: list[Extent] | None
    reason: str


def switch(connection: Connection, machine: Any, mark: str, *, on: bool) -> None:
    """Takes effect before it returns. For a machine without snapshots. Raises what the tasks do."""
    tasks = connection.tasks
    tasks.run(machine, machine.ReconfigVM_Task, vim.vm.ConfigSpec(changeTrackingEnabled=on))
    snapshot = tasks.run(machine, machine.CreateSnapshotEx_Task, NAME, mark, False, None)
    tasks.run(machine, snapshot.RemoveSnapshot_Task, False, True)


def begin_anew(connection: Connection, machine: Any, mark: str) -> None:
    """All changes count from now on, under a new id. For a machine without snapshots."""
    switch(connection, machine, mark, on=False)
    switch(connection, machine, mark, on=True)


def changes_of(
    connection: Connection, machine: Any, snapshot: Any, disk: MachineDisk, parent: ParentDisk | None
) -> Changes:
    """What changed of a disk since the parent, or why nobody can say. Raises nothing of its own."""
    reason = unusable(disk, parent)
    if reason is not None:
        return Changes(None, reason)
    assert parent is not None
    since = parse_change_id(parent.change_id)
    assert since is not None
    try:
        areas = changed_areas(connection, machine, snapshot, disk.device_key, disk.size, since.told)
    except TrackingUnusable as fault:
        return Changes(None, str(fault))
    return Changes(areas, f"changes since {since.told}")


def unusable(disk: MachineDisk, parent: ParentDisk | None) -> str | None:
    """Why what changed since the parent cannot be asked for; None where it can."""
    if parent is None:
        return "no recovery point of this disk to count from"
    if not parent.resumable:
        return "the parent was cut as this pool does not cut any more"
    if parent.size != disk.size:
        return f"it was resized from {parent.size} to {disk.size} bytes"
    return _not_after(parse_change_id(disk.change_id), parse_change_id(parent.change_id))


def _not_after(now: ChangeId | None, then: ChangeId | None) -> str | None:
    """Why the one moment cannot be counted from the other."""
    if now is None:
        return "change tracking is off"
    if then is None:
        return "the parent has no change id"
    if now.vcenter != then.vcenter:
        return "the parent is of another vCenter, whose change ids count for nothing here"
    if now.tracking != then.tracking:
        return "change tracking began anew since the parent: switched, reset, restored, or after a power loss"
    if now.number < then.number:
        return f"the machine was reverted: change {now.number} comes before the parent's {then.number}"
    return None
