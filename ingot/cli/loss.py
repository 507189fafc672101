"""What could not be brought back: as JSON, and as lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from media.extents import Extent
    from media.faults import DamageFault
    from media.reader import Lost

LINES = 50  # on a terminal; --json has all


def merged(lost: list[Lost]) -> list[tuple[Extent, DamageFault]]:
    """Neighbours that were lost for the same reason, joined."""
    from media.extents import Extent

    joined: list[tuple[Extent, DamageFault]] = []
    for one in lost:
        if joined and joined[-1][0].end == one.extent.offset and str(joined[-1][1]) == str(one.fault):
            before = joined[-1][0]
            joined[-1] = (Extent(before.offset, before.length + one.extent.length), one.fault)
        else:
            joined.append((one.extent, one.fault))
    return joined


def loss_documents(lost: dict[int, list[Lost]]) -> list[dict[str, Any]]:
    """`lost_extents`, by disk and offset."""
    return [
        {
            "disk": disk,
            "offset": extent.offset,
            "length": extent.length,
            "code": fault.code,
            "reason": str(fault),
        }
        for disk, of_disk in sorted(lost.items())
        for extent, fault in merged(of_disk)
    ]


def loss_lines(lost: dict[int, list[Lost]]) -> list[str]:
    """One line an extent, with the place and the reason."""
    lines = [
        f"lost: disk {one['disk']}: {one['length']} bytes at {one['offset']}: {one['reason']}"
        for one in loss_documents(lost)
    ]
    if len(lines) > LINES:
        return [*lines[:LINES], f"lost: and {len(lines) - LINES} more extents; --json names all"]
    return lines
