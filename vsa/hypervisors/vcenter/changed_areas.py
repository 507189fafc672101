"""What changed of a disk between two moments, as a host's change tracking tells it, checked.

An answer holds at most 2 000 areas and says how far it reaches, so one asks again from there until the end of the disk;
there one must not ask. Whoever takes the first answer for the whole makes backups that miss what lies behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from media.extents import Extent, normal
from runtime.faults import Fault
from vsa.faults import HypervisorFailed, TrackingUnusable
from vsa.hypervisors.vcenter.connection import Connection

_TRIES = 3
_PAUSE_SECONDS = 5.0
_PAGES_MAX = 100_000  # 200 million areas: nobody's answer


class Page(NamedTuple):
    """One answer: what it covers, and the areas in it."""

    offset: int
    length: int
    areas: list[Extent]


def walk(ask: Callable[[int], Page], capacity: int) -> list[Extent]:
    """All changed areas of a disk, normal; `ask(offset)` answers from there on.

    Raises TrackingUnusable where an answer cannot be right.
    """
    found: list[Extent] = []
    position = 0
    for _ in range(_PAGES_MAX):
        if position == capacity:
            return normal(found)
        page = ask(position)
        if page.offset != position or page.length <= 0 or position + page.length > capacity:
            raise TrackingUnusable(
                f"changed areas from {position} of {capacity}: expected an answer from there to the end of the disk at "
                f"most, found one for {page.length} bytes at {page.offset}"
            )
        end = position
        for area in page.areas:
            if area.length <= 0 or area.offset < end or area.end > position + page.length:
                raise TrackingUnusable(
                    f"changed areas from {position} of {capacity}: expected ascending areas without overlap in "
                    f"[{position}, {position + page.length}), found {area.length} bytes at {area.offset}"
                )
            end = area.end
        found += page.areas
        position += page.length
    raise TrackingUnusable(f"changed areas of {capacity} bytes: expected an end, found {_PAGES_MAX} answers")


def changed_areas(
    connection: Connection, machine: Any, snapshot: Any, device_key: int, capacity: int, change_id: str
) -> list[Extent]:
    """What changed of a disk from the moment of `change_id` to that of `snapshot`.

    Raises TrackingUnusable: not known, or not after three tries.
    """

    def ask(offset: int) -> Page:
        info = connection.read(
            machine.QueryChangedDiskAreas,
            snapshot=snapshot,
            deviceKey=device_key,
            startOffset=offset,
            changeId=change_id,
        )
        areas = [Extent(int(area.start), int(area.length)) for area in info.changedArea or []]
        return Page(int(info.startOffset), int(info.length), areas)

    for left in reversed(range(_TRIES)):
        try:
            return walk(ask, capacity)
        except HypervisorFailed as fault:
            if fault.name == "FileFault" or not left:  # noTrack, noEpoch, cannotGetChanges: no other try helps
                raise TrackingUnusable(f"the host does not tell what changed: {fault}") from fault
        except TrackingUnusable:
            raise
        except Fault as fault:
            if not left:
                raise TrackingUnusable(f"the host does not tell what changed: {fault}") from fault
        connection.clock.sleep(_PAUSE_SECONDS)
    raise AssertionError("unreachable")


class ChangeId(NamedTuple):
    """`<uuid>/<n>`: the n-th moment since tracking began under this uuid; and where that was told.

    A recovery point has it as `<uuid>/<n>@<vCenter>`. Another vCenter may show a copy of the disk, whose tracking went
    on over other contents, so there it counts for nothing.
    """

    tracking: str
    number: int
    vcenter: str = ""

    @property
    def told(self) -> str:
        """As a host says it."""
        return f"{self.tracking}/{self.number}"

    def __str__(self) -> str:
        return f"{self.told}@{self.vcenter}" if self.vcenter else self.told


def parse_change_id(text: str | None, vcenter: str = "") -> ChangeId | None:
    """None where there is none, or none that can be compared. What a host says is of this vCenter."""
    told, _, where = (text or "").partition("@")
    tracking, slash, number = told.rpartition("/")
    return ChangeId(tracking, int(number), where or vcenter) if slash and tracking and number.isdigit() else None
