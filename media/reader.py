"""The one read path: a disk of a recovery point, planned by container, fetched and opened in parallel, written out of order.

A window of the disk is planned at a time: its leaf pages give every chunk's place; grouped by container, each container is
fetched once a window, whole or in coalesced extents, and each record is opened once. What is lost is reported, and the rest restored.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ext.fingerprint import Fingerprinter
from media.container import Footer
from media.container_reader import ContainerReader
from media.extents import Extent, normal, total, within
from media.faults import DamageFault, RecordCorrupt, RecordMissing
from media.ids import cid_text
from media.known_chunks import Fingerprints
from media.page import PageRef
from media.pool import Pool
from media.record import HEADER_BYTES
from media.recovery_point import DiskTree
from media.tree import TreeReader
from runtime.tasks import in_parallel

WINDOW_BYTES = 8 << 30  # of output planned at once: 130 000 chunks of 64 KiB, 8 MB of plan
_GAP_BYTES = 1 << 20  # unused bytes read rather than asking again
_ARENA_BYTES = 4 << 20  # plain bytes opened between two checks of fingerprints; fits the processor's cache


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


@dataclass(frozen=True)
class _Chunks:
    """n chunks of a disk as columns, each with the place that its leaf names."""

    offsets: NDArray[np.uint64]
    lengths: NDArray[np.uint32]
    fingerprints: Fingerprints
    cids: NDArray[np.uint64]
    slots: NDArray[np.uint32]

    def columns(self) -> tuple[NDArray[Any], ...]:
        return self.offsets, self.lengths, self.fingerprints, self.cids, self.slots

    def rows(self, rows: NDArray[np.int64]) -> _Chunks:
        return _Chunks(*(column[rows] for column in self.columns()))

    def extents(self) -> Iterator[Extent]:
        for offset, length in zip(self.offsets.tolist(), self.lengths.tolist(), strict=True):
            yield Extent(offset, length)


_NO_CHUNKS = _Chunks(
    np.empty(0, np.uint64),
    np.empty(0, np.uint32),
    np.empty((0, 32), np.uint8),
    np.empty(0, np.uint64),
    np.empty(0, np.uint32),
)


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
        self._fingerprinter = Fingerprinter(pool.keys.fingerprint)
        self._lock = threading.Lock()
        self._outcome = Outcome()
        self._lost_pages: list[Extent] = []

    def run(self) -> Outcome:
        """Write the whole disk. Damage is not raised but told in the outcome; everything else raises."""
        position = 0
        for segments in self._windows():
            chunks = self._plan(segments)
            end = min((segments[-1][0] + 1) * self._segment_bytes, self._disk.size)
            self._holes(chunks, position, end)
            position = end
            groups = _by_container(chunks)
            in_parallel(min(self._workers, max(1, len(groups))), groups, lambda _, group: self._restore(group))
        self._holes(_NO_CHUNKS, position, self._disk.size)
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

    def _plan(self, segments: list[tuple[int, PageRef]]) -> _Chunks:
        parts = []
        for segment, ref in segments:
            try:
                leaf = self._tree.leaf(ref, segment)
            except DamageFault as fault:
                self._lost_subtree(segment, 1, fault)
                continue
            offsets = leaf.offsets.astype(np.uint64) + np.uint64(segment * self._segment_bytes)
            parts.append(_Chunks(offsets, leaf.lengths, leaf.fingerprints, leaf.places.cids, leaf.places.slots))
        if not parts:
            return _NO_CHUNKS
        return _Chunks(*(np.concatenate(columns) for columns in zip(*(part.columns() for part in parts), strict=True)))

    def _holes(self, chunks: _Chunks, position: int, end: int) -> None:
        """What nothing covers of [position, end). What was lost with its page covers too: it is no hole."""
        lost = list(within(self._lost_pages, position, end - position))
        starts = np.concatenate([chunks.offsets, np.array([e.offset for e in lost], np.uint64)])
        ends = np.concatenate([chunks.offsets + chunks.lengths, np.array([e.end for e in lost], np.uint64)])
        firsts = np.concatenate([[np.uint64(position)], np.sort(ends)])  # neither overlaps, so both sort alike
        lasts = np.concatenate([np.sort(starts), [np.uint64(end)]])
        for row in np.flatnonzero(lasts > firsts).tolist():
            first, last = int(firsts[row]), int(lasts[row])
            self._outcome.hole_bytes += last - first
            if not self._target.reads_zero:
                self._target.write_zeros(first, last - first)
            self._advance(last - first)

    def _restore(self, chunks: _Chunks) -> None:
        """The chunks of one container, in the order in which they lie there."""
        cid = int(chunks.cids[0])
        try:
            footer = self._containers.footer(cid)
            find_key = self._containers.key_finder(cid)
        except DamageFault as fault:
            self._lose_chunks(chunks, fault)
            return
        chunks = self._resolved(chunks, footer, cid)
        arena = _Arena(self, self._target, chunks)
        for rows, raw, base in self._fetch(chunks, footer, cid):
            for row in rows:
                slot = int(chunks.slots[row])
                offset = int(footer["offset"][slot])
                try:
                    header, plain = self._containers.decode(raw[offset - base :], cid, offset, find_key)
                    if header.fingerprint != chunks.fingerprints[row].tobytes() or len(plain) != chunks.lengths[row]:
                        raise RecordCorrupt(
                            f"{cid_text(cid)} at {offset}: not the record that the footer names in slot {slot}"
                        )
                except DamageFault as fault:
                    self._lose_chunks(chunks.rows(_same_slot(chunks, row)), fault)
                    continue
                arena.add(row, plain, cid, offset)
        arena.flush()

    def _resolved(self, chunks: _Chunks, footer: Footer, cid: int) -> _Chunks:
        """The chunks in slot order, each slot one that the footer confirms; what the container does not hold is lost."""
        slots = np.minimum(chunks.slots, max(0, len(footer) - 1)).astype(np.int64)
        wrong = (
            np.arange(len(slots))
            if not len(footer)
            else np.flatnonzero((footer["fingerprint"][slots] != chunks.fingerprints).any(axis=1))
        )
        found = np.ones(len(slots), np.bool_)
        for row in wrong.tolist():
            try:
                slots[row] = self._containers.slot_of(cid, int(chunks.slots[row]), chunks.fingerprints[row].tobytes())
            except RecordMissing as fault:
                found[row] = False
                self._lose_chunks(chunks.rows(np.array([row])), fault)
        kept = _Chunks(chunks.offsets, chunks.lengths, chunks.fingerprints, chunks.cids, slots.astype(np.uint32))
        rows = np.flatnonzero(found)
        return kept.rows(rows[np.lexsort((chunks.offsets[rows], slots[rows]))])

    def _fetch(self, chunks: _Chunks, footer: Footer, cid: int) -> Iterator[tuple[list[int], memoryview, int]]:
        """The container's bytes that these chunks need: (first row of each slot, bytes, their offset in the container).

        Extents with gaps up to 1 MiB are read as one; a container that is more than half used is read whole by that.
        """
        firsts = np.flatnonzero(np.diff(chunks.slots.astype(np.int64), prepend=-1)).tolist()
        run: list[int] = []
        start = end = 0
        for row in firsts:
            entry = footer[int(chunks.slots[row])]
            first = int(entry["offset"])
            last = first + HEADER_BYTES + int(entry["stored_len"])
            if run and first - end > _GAP_BYTES:
                yield run, memoryview(self._containers.extent(cid, start, end - start)), start
                run = []
            if not run:
                start = first
            run.append(row)
            end = last
        if run:
            yield run, memoryview(self._containers.extent(cid, start, end - start)), start

    def _lose_chunks(self, chunks: _Chunks, fault: DamageFault) -> None:
        extents = list(chunks.extents())
        if not self._target.reads_zero:
            for extent in extents:
                self._target.write_zeros(extent.offset, extent.length)
        self._lose(extents, fault)
        self._advance(total(extents))

    def _lose(self, extents: Iterable[Extent], fault: DamageFault) -> None:
        with self._lock:
            self._outcome.lost += [Lost(extent, fault) for extent in extents]

    def _written(self, count: int) -> None:
        with self._lock:
            self._outcome.bytes_written += count
        self._advance(count)


class _Arena:
    """Opened chunks waiting for their fingerprints to be checked in one batch, then written, neighbours in one call."""

    def __init__(self, restore: DiskRestore, target: DiskWriter, chunks: _Chunks) -> None:
        self._restore = restore
        self._target = target
        self._chunks = chunks
        self._memory = np.empty(_ARENA_BYTES + (1 << 20), np.uint8)
        self._view = memoryview(self._memory)
        self._rows: list[int] = []
        self._starts: list[int] = []
        self._wheres: list[str] = []
        self._end = 0

    def add(self, row: int, plain: bytes, cid: int, offset: int) -> None:
        if self._end + len(plain) > len(self._memory):
            self.flush()
        self._view[self._end : self._end + len(plain)] = plain
        self._rows.append(row)
        self._starts.append(self._end)
        self._wheres.append(f"{cid_text(cid)} at {offset}")
        self._end += len(plain)

    def flush(self) -> None:
        """Check and write what is in here."""
        if not self._rows:
            return
        restore, chunks = self._restore, self._chunks
        rows = np.array(self._rows)
        found = np.empty((len(rows), 32), np.uint8)
        restore._fingerprinter.batch(self._memory, np.array(self._starts, np.uint32), chunks.lengths[rows], found)
        wrong = (found != chunks.fingerprints[rows]).any(axis=1)
        pieces: list[tuple[int, int, int]] = []  # disk offset, arena start, length
        for i, row in enumerate(self._rows):
            same = _same_slot(chunks, row)
            if wrong[i]:
                fault = RecordCorrupt(f"{self._wheres[i]}: plain bytes are not what their fingerprint says")
                restore._lose_chunks(chunks.rows(same), fault)
                continue
            pieces += [(offset, self._starts[i], int(chunks.lengths[row])) for offset in chunks.offsets[same].tolist()]
        for offset, start, length in _joined(pieces):
            self._target.write(offset, self._view[start : start + length])
            restore._written(length)
        self._rows, self._starts, self._wheres, self._end = [], [], [], 0


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


def _same_slot(chunks: _Chunks, row: int) -> NDArray[np.int64]:
    """All rows with the slot of `row`, which is the first of them; chunks are in slot order."""
    end = int(np.searchsorted(chunks.slots, chunks.slots[row], side="right"))
    return np.arange(row, end)


def _by_container(chunks: _Chunks) -> list[_Chunks]:
    """The chunks grouped by container, the groups in order of the first offset that needs them."""
    order = np.argsort(chunks.cids, kind="stable")
    borders = np.flatnonzero(np.diff(chunks.cids[order])) + 1
    groups = [rows for rows in np.split(order, borders) if len(rows)]
    groups.sort(key=lambda rows: int(rows[0]))
    return [chunks.rows(rows) for rows in groups]
