"""Extents: offset and length on a disk, in bytes. Pure arithmetic.

A *normal* list of extents is ascending, without overlap, without two that touch, without empty ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Extent(NamedTuple):
    """`length` bytes of a disk from `offset` on."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        return self.offset + self.length


def normal(extents: Iterable[Extent]) -> list[Extent]:
    """The same bytes as a normal list."""
    joined: list[Extent] = []
    for extent in sorted(e for e in extents if e.length > 0):
        if joined and extent.offset <= joined[-1].end:
            end = max(joined[-1].end, extent.end)
            joined[-1] = Extent(joined[-1].offset, end - joined[-1].offset)
        else:
            joined.append(Extent(*extent))
    return joined


def outward(extents: Iterable[Extent], alignment: int, end: int) -> list[Extent]:
    """Every extent rounded outward to `alignment` and clipped to [0, end); normal."""
    rounded = []
    for extent in extents:
        first = extent.offset - extent.offset % alignment
        last = min(end, -(-extent.end // alignment) * alignment)
        if extent.length > 0:
            rounded.append(Extent(first, last - first))
    return normal(rounded)


def within(extents: Iterable[Extent], offset: int, length: int) -> Iterator[Extent]:
    """The parts of `extents` inside [offset, offset + length)."""
    for extent in extents:
        first, last = max(extent.offset, offset), min(extent.end, offset + length)
        if first < last:
            yield Extent(first, last - first)


def gaps(extents: Iterable[Extent], offset: int, length: int) -> Iterator[Extent]:
    """What normal `extents` leave uncovered of [offset, offset + length)."""
    position = offset
    for extent in within(extents, offset, length):
        if extent.offset > position:
            yield Extent(position, extent.offset - position)
        position = extent.end
    if position < offset + length:
        yield Extent(position, offset + length - position)


def total(extents: Iterable[Extent]) -> int:
    """Sum of the lengths."""
    return sum(extent.length for extent in extents)


def by_segment(extents: Iterable[Extent], segment_bytes: int) -> dict[int, list[Extent]]:
    """Normal `extents` split at segment borders: segment number -> extents, still in disk offsets."""
    split: dict[int, list[Extent]] = {}
    for extent in extents:
        position = extent.offset
        while position < extent.end:
            segment = position // segment_bytes
            last = min(extent.end, (segment + 1) * segment_bytes)
            split.setdefault(segment, []).append(Extent(position, last - position))
            position = last
    return split
