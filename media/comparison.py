"""What of a disk is already as a recovery point has it: its chunks compared by fingerprint, its holes by being zero.

One segment at a time, all of its chunks in one call; there is no Python for a single chunk.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ext.fingerprint import Fingerprinter
from media.disk import Disk
from media.extents import Extent, normal
from media.page import Leaf

_BLOCK_BYTES = 64 << 10  # of a hole, that is zeroed or left as a whole


class Compared(NamedTuple):
    """Of one segment, in offsets on the disk: chunks that are there, parts of holes that are not zero; both normal."""

    same: list[Extent]
    filled: list[Extent]


class Comparison:
    """Compares one disk; each thread has its own, because of its memory."""

    def __init__(self, disk: Disk, fingerprinter: Fingerprinter, segment_bytes: int) -> None:
        self._disk = disk
        self._fingerprinter = fingerprinter
        self._segment_bytes = segment_bytes
        self._memory = np.zeros(segment_bytes, np.uint8)
        self.read_bytes = 0

    def segment(self, number: int, leaf: Leaf | None) -> Compared:
        """`leaf` lists what the recovery point has there; None is all holes. Raises what reading the disk does."""
        base = number * self._segment_bytes
        length = min(self._segment_bytes, self._disk.size - base)
        self._read(base, length)
        if leaf is None:
            return Compared([], self._filled(base, np.zeros(1, np.int64), np.array([length])))
        starts, ends = leaf.offsets.astype(np.int64), leaf.offsets.astype(np.int64) + leaf.lengths
        found = np.empty((len(starts), 32), np.uint8)
        self._fingerprinter.batch(self._memory[:length], leaf.offsets, leaf.lengths, found)
        same = (found == leaf.fingerprints).all(axis=1)
        extents = zip((starts[same] + base).tolist(), leaf.lengths[same].tolist(), strict=True)
        return Compared(
            normal(Extent(*extent) for extent in extents),
            self._filled(base, np.concatenate([[0], ends]), np.concatenate([starts, [length]])),
        )

    def _read(self, base: int, length: int) -> None:
        """The segment into memory; what the disk says is no data is zero unread."""
        position = base
        memory = memoryview(self._memory)
        for extent in self._disk.data_extents(base, length):
            self._memory[position - base : extent.offset - base] = 0
            self._disk.read_into(extent.offset, memory[extent.offset - base : extent.end - base])
            self.read_bytes += extent.length
            position = extent.end
        self._memory[position - base : length] = 0

    def _filled(self, base: int, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> list[Extent]:
        filled: list[Extent] = []
        holes = ends > starts
        for start, end in zip(starts[holes].tolist(), ends[holes].tolist(), strict=True):
            if self._memory[start:end].any():  # rarely: a hole that was written to since
                filled += self._blocks(base, start, end)
        return normal(filled)

    def _blocks(self, base: int, start: int, end: int) -> list[Extent]:
        borders = [start, *range(start - start % _BLOCK_BYTES + _BLOCK_BYTES, end, _BLOCK_BYTES), end]
        return [Extent(base + a, b - a) for a, b in pairwise(borders) if self._memory[a:b].any()]
