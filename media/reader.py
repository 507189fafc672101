"""The one read path: a disk of a recovery point, planned by container, opened in parallel, written out of order.

A window of the disk is planned at a time: its leaf pages give every chunk's place; grouped by container, each
container is fetched once a window, in coalesced extents, and each record is opened once. What is lost is reported,
and the rest restored.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ext.fingerprint import Fingerprinter
from media.container import Footer
from media.container_reader import ContainerReader
from media.extents import Extent, normal, total, within
from media.faults import DamageFault, RecordCorrupt, RecordMissing
from media.ids import Where
from media.known_chunks import keys
from media.page import PageRef
from media.pool import Pool
from media.recovery_point import DiskTree
from media.restore_plan import Chunks, Wanted, runs, wanted_records
from media.tree import TreeReader
from runtime.tasks import in_parallel

WINDOW_BYTES = 8 << 30  # of output planned at once: 130 000 chunks of 64 KiB, 8 MB of plan
_ARENA_BYTES = 2 << 20  # plain bytes opened between two checks of fingerprints; two of the largest chunks there are


class DiskWriter(Protocol):
    """Where a disk is written. Called from several threads at once, out of order, never twice for the same bytes."""

    @property
    def reads_zero(self) -> bool:
        """Whether what is not written reads as zero."""

    def write(self, offset: int, data: memoryview) -> None:
        """Write `data` at `offset`. Raises TargetUnwritable."""

    def write_zeros(self, offset: int, length: int) -> None:
        """Make `length` bytes at `offset` read as zero. Raises TargetUnwritable."""


@dataclass(frozen=True)
class Lost:
    """An extent that could not be brought back, and why."""

    extent: Extent
    fault: DamageFault


@dataclass
class Outcome:
    """What a restore did; `lost` is in order of offset."""

    bytes_written: int = 0
    hole_bytes: int = 0
    lost: list[Lost] = field(default_factory=list)

    @property
    def lost_extents(self) -> list[Extent]:
        """The lost bytes as a normal list."""
        return normal(lost.extent for lost in self.lost)


class DiskRestore:
    """Brings one disk back. Used once."""

    def __init__(
        self,
        pool: Pool,
        containers: ContainerReader,
        disk: DiskTree,
        target: DiskWriter,
        workers: int,
        advance: Callable[[int], None],
        window_bytes: int = WINDOW_BYTES,
    ) -> None:
        self._pool = pool
        self._containers = containers
        self._disk = disk
        self._target = target
        self._workers = workers
        self._advance = advance
        self._segment_bytes = pool.parameters.segment_bytes
        self._window_segments = max(1, window_bytes // self._segment_bytes)
        self._tree = TreeReader(containers, pool.keys.page)
        self.fingerprinter = Fingerprinter(pool.keys.fingerprint)
        self._lock = threading.Lock()
        self._outcome = Outcome()
        self._lost_pages: list[Extent] = []
        self._arenas = [np.empty(_ARENA_BYTES, np.uint8) for _ in range(workers)]

    def run(self) -> Outcome:
        """Write the whole disk. Damage is not raised but told in the outcome; everything else raises."""
        position = 0
        for segments in self._windows():
            chunks = self._plan(segments)
            end = min((segments[-1][0] + 1) * self._segment_bytes, self._disk.size)
            self._holes(chunks, position, end)
            position = end
            groups = chunks.by_container()
            in_parallel(min(self._workers, max(1, len(groups))), groups, self._restore)
        self._holes(Chunks.none(), position, self._disk.size)
        self._outcome.lost.sort(key=lambda lost: lost.extent)
        return self._outcome

    def _windows(self) -> Iterator[list[tuple[int, PageRef]]]:
        """The leaves of the disk, as many at a time as one window has segments."""
        window: list[tuple[int, PageRef]] = []
        for segment, ref in self._tree.leaves(self._disk.root, self._lost_subtree):
            if window and segment - window[0][0] >= self._window_segments:
                yield window
                window = []
            window.append((segment, ref))
        if window:
            yield window

    def _lost_subtree(self, first: int, count: int, fault: DamageFault) -> None:
        offset = first * self._segment_bytes
        extent = Extent(offset, min((first + count) * self._segment_bytes, self._disk.size) - offset)
        self._lost_pages.append(extent)
        if not self._target.reads_zero:
            self._target.write_zeros(extent.offset, extent.length)
        self._lose([extent], fault)

    def _plan(self, segments: list[tuple[int, PageRef]]) -> Chunks:
        parts = []
        for segment, ref in segments:
            try:
                parts.append(Chunks.of(self._tree.leaf(ref, segment), segment * self._segment_bytes))
            except DamageFault as fault:
                self._lost_subtree(segment, 1, fault)
        return Chunks.joined(parts)

    def _holes(self, chunks: Chunks, position: int, end: int) -> None:
        """Leave holes where nothing covers [position, end). What was lost with its page covers too: it is no hole."""
        for hole in chunks.holes(within(self._lost_pages, position, end - position), position, end):
            self._outcome.hole_bytes += hole.length
            if not self._target.reads_zero:
                self._target.write_zeros(hole.offset, hole.length)
            self._advance(hole.length)

    def _restore(self, worker: int, chunks: Chunks) -> None:
        """The chunks of one container, in the order in which they lie there."""
        cid = int(chunks.cids[0])
        try:
            footer = self._containers.footer(cid)
        except DamageFault as fault:
            self.lose_chunks(chunks, 0, len(chunks.slots), fault)
            return
        chunks = self._confirmed(chunks, footer, cid)
        find_key = self._containers.key_finder(cid)
        arena = _Arena(self, self._target, cid, chunks, self._arenas[worker])
        for run in runs(wanted_records(chunks, footer)):
            base = run[0].offset
            try:
                raw = memoryview(self._containers.extent(cid, base, run[-1].end - base))
            except DamageFault as fault:  # gone, though its footer is remembered
                self.lose_chunks(chunks, run[0].first_row, run[-1].last_row, fault)
                continue
            for record in run:
                try:
                    header, plain = self._containers.decode(raw[record.offset - base :], cid, record.offset, find_key)
                    if header.fingerprint != record.fingerprint or len(plain) != record.plain_len:
                        slot = f"slot {record.slot}"
                        raise RecordCorrupt(
                            f"{Where(cid, record.offset)}: not the record that the footer names in {slot}"
                        )
                except DamageFault as fault:
                    self.lose_chunks(chunks, record.first_row, record.last_row, fault)
                    continue
                arena.add(record, plain)
        arena.flush()

    def _confirmed(self, chunks: Chunks, footer: Footer, cid: int) -> Chunks:
        """The chunks in slot order, each slot confirmed by the footer; what the container does not hold is lost."""
        slots = chunks.slots.astype(np.int64)
        wrong = slots >= len(footer)
        there = np.flatnonzero(~wrong)
        wrong[there] = (footer["fingerprint"][slots[there]] != chunks.fingerprints[there]).any(axis=1)
        found = np.ones(len(slots), np.bool_)
        for row in np.flatnonzero(wrong).tolist():
            try:
                slots[row] = self._containers.slot_of(cid, int(slots[row]), chunks.fingerprints[row].tobytes())
            except RecordMissing as fault:
                found[row] = False
                self.lose_chunks(chunks, row, row + 1, fault)
        rows = np.flatnonzero(found)
        rows = rows[np.lexsort((chunks.offsets[rows], slots[rows]))]
        return replace(chunks.rows(rows), slots=slots[rows].astype(np.uint32))

    def lose_chunks(self, chunks: Chunks, first: int, last: int, fault: DamageFault) -> None:
        """Report the chunks of rows [first, last) as lost; they read as zero."""
        extents = chunks.extents(first, last)
        if not self._target.reads_zero:
            for extent in extents:
                self._target.write_zeros(extent.offset, extent.length)
        self._lose(extents, fault)
        self._advance(total(extents))

    def _lose(self, extents: Iterable[Extent], fault: DamageFault) -> None:
        with self._lock:
            self._outcome.lost += [Lost(extent, fault) for extent in extents]

    def written(self, count: int) -> None:
        """So many bytes are at the target."""
        with self._lock:
            self._outcome.bytes_written += count
        self._advance(count)


class _Arena:
    """Opened chunks waiting for their fingerprints to be checked in one batch, then written, neighbours in one call."""

    def __init__(
        self, restore: DiskRestore, target: DiskWriter, cid: int, chunks: Chunks, memory: NDArray[np.uint8]
    ) -> None:
        self._restore = restore
        self._target = target
        self._cid = cid
        self._chunks = chunks
        self._memory = memory
        self._view = memoryview(memory)
        self._records: list[Wanted] = []
        self._starts: list[int] = []
        self._end = 0

    def add(self, record: Wanted, plain: bytes) -> None:
        end = self._end + len(plain)
        if end > len(self._memory):
            self.flush()
            end = len(plain)
        if end > len(self._memory):
            self._memory = np.empty(end, np.uint8)  # larger than any chunk that our cutter makes
            self._view = memoryview(self._memory)
        self._view[self._end : end] = plain
        self._records.append(record)
        self._starts.append(self._end)
        self._end = end

    def flush(self) -> None:
        """Check and write what is in here."""
        if not self._records:
            return
        lengths = np.array([record.plain_len for record in self._records], np.uint32)
        found = np.empty((len(lengths), 32), np.uint8)
        self._restore.fingerprinter.batch(self._memory, np.array(self._starts, np.uint32), lengths, found)
        pieces: list[tuple[int, int, int]] = []  # disk offset, arena start, length
        for record, start, key in zip(self._records, self._starts, keys(found), strict=True):
            if key != record.fingerprint:
                where = Where(self._cid, record.offset)
                fault = RecordCorrupt(f"{where}: plain bytes are not what their fingerprint says")
                self._restore.lose_chunks(self._chunks, record.first_row, record.last_row, fault)
                continue
            for row in range(record.first_row, record.last_row):
                pieces.append((int(self._chunks.offsets[row]), start, record.plain_len))
        for offset, start, length in _joined(pieces):
            self._target.write(offset, self._view[start : start + length])
            self._restore.written(length)
        self._records, self._starts, self._end = [], [], 0


def _joined(pieces: list[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
    """Pieces that follow one another both on the disk and in memory become one write."""
    merged: tuple[int, int, int] | None = None
    for offset, start, length in pieces:
        if merged is not None and merged[0] + merged[2] == offset and merged[1] + merged[2] == start:
            merged = (merged[0], merged[1], merged[2] + length)
            continue
        if merged is not None:
            yield merged
        merged = (offset, start, length)
    if merged is not None:
        yield merged
