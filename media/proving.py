"""Proving a disk: cells are read, and must be what the parent's leaves say where nothing is said to have changed.

Chunks are compared by fingerprint, all of a cell in one call; where the parent has no chunk, zeros are expected.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ext.cut import BLOCK_BYTES
from ext.fingerprint import Fingerprinter
from media.disk import Disk
from media.extents import Extent, by_segment, gaps, normal, outward
from media.page import Leaf
from media.proof import CELLS_IN_SEGMENT, Cells, blocks_of
from media.session_log import SessionLog
from runtime.tasks import ahead, in_parallel

_LEAVES_AHEAD = 32


@dataclass
class Findings:
    """What came of it. `wrong` are cells that were said to be unchanged and were not what the parent says."""

    cells: int = 0
    read_bytes: int = 0
    wrong: list[int] = field(default_factory=list)


class DiskProving:
    """One disk of one backup, its changes known."""

    def __init__(
        self, number: int, disk: Disk, changes: list[Extent], fingerprinter: Fingerprinter, log: SessionLog
    ) -> None:
        self._number = number
        self._disk = disk
        self._segment_bytes = log.terms.parameters.segment_bytes
        self.cell_bytes = self._segment_bytes // CELLS_IN_SEGMENT
        self._fingerprinter = fingerprinter
        self._log = log
        self._changes = by_segment(outward(normal(changes), BLOCK_BYTES, disk.size), self._segment_bytes)
        self._lock = threading.Lock()

    @property
    def cell_count(self) -> int:
        return -(-self._disk.size // self.cell_bytes)

    def prove(self, cells: Cells, memories: list[NDArray[np.uint8]]) -> Findings:
        """Read these cells (ascending), a thread for each memory of a segment. Raises SourceFault, ParentDamaged."""
        findings = Findings()
        segments, starts = np.unique(cells // CELLS_IN_SEGMENT, return_index=True)
        cells_by_segment = dict(zip(segments.tolist(), np.split(cells, starts[1:]), strict=True)) if len(cells) else {}
        self._log.expect(self._number, segments.tolist())

        def wanted() -> Iterator[int]:
            yield from cells_by_segment

        def step(number: int, item: tuple[int, Leaf | None]) -> None:
            segment, leaf = item
            one = self._segment(memories[number], segment, cells_by_segment[segment], leaf)
            self._log.beat()
            with self._lock:
                findings.cells += one.cells
                findings.read_bytes += one.read_bytes
                findings.wrong += one.wrong

        leaves = ahead(_LEAVES_AHEAD, wanted(), lambda segment: self._log.parent_leaf(self._number, segment))
        in_parallel(len(memories), leaves, step)
        findings.wrong.sort()
        return findings

    def _segment(self, memory: NDArray[np.uint8], segment: int, cells: Cells, leaf: Leaf | None) -> Findings:
        base = segment * self._segment_bytes
        size = min(self._segment_bytes, self._disk.size - base)
        changed = blocks_of(self._changes.get(segment, []), base, size)
        chunks = _Chunks.of(leaf, changed, size)
        found = Findings()
        for cell in cells.tolist():
            first = cell * self.cell_bytes - base
            last = min(first + self.cell_bytes, size)
            rows = chunks.beginning_in(first, last)
            end = max(last, chunks.end_of(rows))
            found.cells += 1
            found.read_bytes += self._read(memory, base, first, end)
            right = self._right(memory, chunks, rows) and chunks.zero_between(memory, first, last)
            if not right:
                found.wrong.append(cell)
        return found

    def _read(self, memory: NDArray[np.uint8], base: int, first: int, end: int) -> int:
        view = memoryview(memory)
        there = list(self._disk.data_extents(base + first, end - first))
        for gap in gaps(there, base + first, end - first):
            memory[gap.offset - base : gap.end - base] = 0
        for extent in there:
            self._disk.read_into(extent.offset, view[extent.offset - base : extent.end - base])
        return sum(extent.length for extent in there)

    def _right(self, memory: NDArray[np.uint8], chunks: _Chunks, rows: slice) -> bool:
        kept = np.flatnonzero(chunks.kept[rows]) + rows.start
        if chunks.leaf is None or not len(kept):
            return True
        found = np.empty((len(kept), 32), np.uint8)
        offsets = np.ascontiguousarray(chunks.leaf.offsets[kept])
        lengths = np.ascontiguousarray(chunks.leaf.lengths[kept])
        self._fingerprinter.batch(memory, offsets, lengths, found)
        return bool(np.array_equal(found, chunks.leaf.fingerprints[kept]))


@dataclass(frozen=True)
class _Chunks:
    """The parent's chunks of a segment: which no change touches, and which blocks neither a chunk nor a change does."""

    leaf: Leaf | None
    kept: NDArray[np.bool_]
    holes: NDArray[np.bool_]

    @staticmethod
    def of(leaf: Leaf | None, changed: NDArray[np.bool_], size: int) -> _Chunks:
        if leaf is None:
            return _Chunks(None, np.empty(0, np.bool_), ~changed)
        firsts = leaf.offsets.astype(np.int64) // BLOCK_BYTES
        ends = -(-(leaf.offsets.astype(np.int64) + leaf.lengths) // BLOCK_BYTES)
        before = np.concatenate([[0], np.cumsum(changed)])
        kept = before[np.minimum(ends, len(changed))] == before[np.minimum(firsts, len(changed))]
        depth = np.zeros(-(-size // BLOCK_BYTES) + 1, np.int64)
        np.add.at(depth, np.minimum(firsts, len(depth) - 1), 1)
        np.add.at(depth, np.minimum(ends, len(depth) - 1), -1)
        return _Chunks(leaf, kept, (np.cumsum(depth)[:-1] == 0) & ~changed)

    def beginning_in(self, first: int, last: int) -> slice:
        if self.leaf is None:
            return slice(0, 0)
        start, stop = np.searchsorted(self.leaf.offsets, [first, last])
        return slice(int(start), int(stop))

    def end_of(self, rows: slice) -> int:
        if self.leaf is None or rows.start == rows.stop:
            return 0
        return int(self.leaf.offsets[rows.stop - 1]) + int(self.leaf.lengths[rows.stop - 1])

    def zero_between(self, memory: NDArray[np.uint8], first: int, last: int) -> bool:
        """Whether every hole of [first, last) is zero; `first` is where a block begins."""
        holes = self.holes[first // BLOCK_BYTES : -(-last // BLOCK_BYTES)]
        if not holes.any():
            return True
        whole = (last - first) // BLOCK_BYTES
        blocks = memory[first : first + whole * BLOCK_BYTES].reshape(whole, BLOCK_BYTES)
        tail = memory[first + whole * BLOCK_BYTES : last]
        return not (blocks[holes[:whole]].any() or (len(holes) > whole and bool(holes[whole]) and tail.any()))
