"""Cutting a segment: whole, or resumed from the parent's list (datapath: docs/design/datapath.md).

The law of resuming, a property test: the list of an incremental equals the list of a full re-cut, for every image and
every change set. So a recovery point does not show how it was made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ext.cut import BLOCK_BYTES, ENDED, MET, MORE, SECRETS_BYTES, Cutter
from media.extents import Extent
from media.keys import hkdf
from media.page import U32

_INFO = b"ingot s512/1"


def cutter_of(chunking_key: bytes, average_bytes: int) -> Cutter:
    """The cutter of a pool."""
    return Cutter(hkdf(chunking_key, _INFO, SECRETS_BYTES), average_bytes)


class Cuts(NamedTuple):
    """Chunks of one segment: offsets in it and lengths, n each."""

    offsets: U32
    lengths: U32


def cut_whole(cutter: Cutter, data: NDArray[np.uint8]) -> Cuts:
    """Cut a whole segment that lies in `data`."""
    room = cutter.capacity(len(data))
    offsets, lengths = np.empty(room, np.uint32), np.empty(room, np.uint32)
    count = cutter.segment(data, offsets, lengths)
    return Cuts(offsets[:count].copy(), lengths[:count].copy())


class Resumed(NamedTuple):
    """The new list, and which of its chunks were cut anew.

    Their bytes are in the buffer; the others are the parent's.
    """

    cuts: Cuts
    fresh: NDArray[np.bool_]


def resume_cut(
    cutter: Cutter,
    old: Cuts,
    changes: list[Extent],
    data: NDArray[np.uint8],
    read: Callable[[int, int], None],
) -> Resumed:
    """The list of a segment after `changes`, given the parent's list `old`.

    `changes` are normal, whole 4 KiB blocks, within the segment.

    `data` is the segment's memory; `read(first, last)` fills its bytes [first, last) and is called only for what the
    cut needs, ascending and never twice for the same bytes.
    """
    size = len(data)
    room = cutter.capacity(size)
    offsets, lengths = np.empty(room, np.uint32), np.empty(room, np.uint32)
    made: list[Cuts] = []
    fresh: list[NDArray[np.bool_]] = []
    filled = _Filled(read, size)
    kept = 0  # first entry of `old` that is not decided yet
    position = 0
    for change in changes:
        if change.end <= position:
            continue
        start = max(_restart(cutter, old, change.offset), position)
        last = int(np.searchsorted(old.offsets, start))
        _keep(made, fresh, old, kept, last)
        filled.up_to(start, max(change.end, start + 1))
        while True:
            origin = start - start % BLOCK_BYTES
            end = filled.end
            count, start, state = cutter.resume(
                data[origin:end], origin, start, end == size, change.end, old.offsets, offsets, lengths
            )
            made.append(Cuts(offsets[:count].copy(), lengths[:count].copy()))
            fresh.append(np.ones(count, np.bool_))
            if state != MORE:
                break
            filled.up_to(end, end + cutter.min_bytes)  # small steps: what is read and not needed is amplification
        assert state in (MET, ENDED)
        position = start
        kept = int(np.searchsorted(old.offsets, position)) if state == MET else len(old.offsets)
        if state == ENDED:
            break
    _keep(made, fresh, old, kept, len(old.offsets))
    joined = Cuts(np.concatenate([m.offsets for m in made]), np.concatenate([m.lengths for m in made]))
    return Resumed(joined, np.concatenate(fresh))


def _restart(cutter: Cutter, old: Cuts, first: int) -> int:
    """Where cutting starts again for a change at `first`: the first old chunk whose cut could have seen it.

    A cut looks as far as its start + MAX, so restarting at the chunk that holds the change is wrong.
    """
    candidate = int(np.searchsorted(old.offsets, max(0, first - cutter.max_bytes)))
    if candidate < len(old.offsets) and int(old.offsets[candidate]) <= first:
        return int(old.offsets[candidate])
    return first


def _keep(made: list[Cuts], fresh: list[NDArray[np.bool_]], old: Cuts, first: int, last: int) -> None:
    made.append(Cuts(old.offsets[first:last], old.lengths[first:last]))
    fresh.append(np.zeros(max(0, last - first), np.bool_))


class _Filled:
    """How far the segment's memory holds the new bytes: one extent at a time, whole blocks."""

    def __init__(self, read: Callable[[int, int], None], size: int) -> None:
        self._read = read
        self._size = size
        self.end = 0

    def up_to(self, start: int, end: int) -> None:
        """Make sure of [start's block, end rounded up to blocks), clipped to the segment."""
        first = max(self.end, start - start % BLOCK_BYTES)
        last = min(self._size, -(-end // BLOCK_BYTES) * BLOCK_BYTES)
        if first < last:
            self._read(first, last)
        self.end = max(self.end, last)
