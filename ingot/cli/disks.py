"""Which disks of a recovery point a command is about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from media.recovery_point import DiskTree, RecoveryPoint

DiskOption = Annotated[int | None, typer.Option("--disk", metavar="N", min=0, help="Only disk N.")]


def chosen_disks(point: RecoveryPoint, number: int | None) -> list[DiskTree]:
    """Disk `number`, or all of them. Raises DiskMissing."""
    from ingot.faults import DiskMissing

    disks = [disk for disk in point.disks if number is None or disk.disk == number]
    if not disks:
        there = ", ".join(str(disk.disk) for disk in point.disks)
        raise DiskMissing(f"{point.id}: expected one of its disks {there}, found --disk {number}")
    return disks
