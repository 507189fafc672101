"""The one read path: a disk of a recovery point, planned by container, fetched ahead, written out of order.

A window of the disk is planned at a time: its leaf pages give every chunk's place; grouped by container, each
container is fetched once a window, in coalesced extents, and each record is opened once. The next window is planned
while this one is fetched. What is lost is reported, and the rest restored.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np

from ext.fingerprint import Fingerprinter
from media.container import Footer
from media.container_reader import ContainerReader
from media.extents import Extent, normal, total, within
from media.faults import DamageFault
from media.fetching import MOST_REQUESTS, Fetched, Fetching
from media.opening import Batch, Opener
from media.page import Leaf, PageRef
from media.pool import Pool
from media.recovery_point import DiskTree
from media.restore_plan import Chunks, Run, confirmed, neighbours, runs
from media.tree import TreeReader
from runtime.tasks import in_parallel

WINDOW_BYTES = 8 << 30  # of output planned at once: 130 000 chunks of 64 KiB, 8 MB of plan
_PAGES_IN_FLIGHT = 32


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
    kept_bytes: int = 0  # written by an earlier run, which this one continued
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
        done: Sequence[Extent] = (),
    ) -> None:
        """`done`, normal, is what the target holds already: written by an earlier run of the same restore."""
        self._pool = pool
        self._containers = containers
        self._disk = disk
        self._target = target
        self._workers = workers
        self._advance = advance
        self._done = list(done)
        self._segment_bytes = pool.parameters.segment_bytes
        self._window_segments = max(1, window_bytes // self._segment_bytes)
        self._tree = TreeReader(containers, pool.keys.page)
        self._fingerprinter = Fingerprinter(pool.keys.fingerprint)
        self._lock = threading.Lock()
        self._outcome = Outcome()
        self._lost_pages: list[Extent] = []
        self._fetching = Fetching(workers)

    def run(self) -> Outcome:
        """Write the whole disk. Damage is not raised but told in the outcome; everything else raises."""
        segments = -(-self._disk.size // self._segment_bytes)
        fetchers = min(MOST_REQUESTS, 2 * (segments + 1))
        tasks: list[Callable[[], None]] = [
            self._plan,
            *[partial(self._fetch, number) for number in range(fetchers)],
            *[self._open] * self._workers,
        ]
        in_parallel(len(tasks), tasks, lambda _, task: task(), self._fetching.stop)
        self._outcome.lost.sort(key=lambda lost: lost.extent)
        return self._outcome

    def _plan(self) -> None:
        """Put what is to be fetched, window by window; leave holes."""
        position = 0
        for segments in self._windows():
            chunks = self._chunks(segments)
            end = min((segments[-1][0] + 1) * self._segment_bytes, self._disk.size)
            self._holes(chunks, position, end)
            chunks = self._undone(chunks)
            position = end
            if not self._fetching.put(chunks.by_container()):
                return
        self._holes(Chunks.none(), position, self._disk.size)
        self._fetching.planned_all()

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

    def _chunks(self, segments: list[tuple[int, PageRef]]) -> Chunks:
        """The chunks of these segments; what is lost with its page is reported."""
        leaves: dict[int, Leaf] = {}

        def read(_: int, item: tuple[int, PageRef]) -> None:
            segment, ref = item
            try:
                leaves[segment] = self._tree.leaf(ref, segment)
            except DamageFault as fault:
                self._lost_subtree(segment, 1, fault)

        in_parallel(min(_PAGES_IN_FLIGHT, len(segments)), segments, read)
        return Chunks.joined([Chunks.of(leaves[s], s * self._segment_bytes) for s, _ in segments if s in leaves])

    def _undone(self, chunks: Chunks) -> Chunks:
        """Those that the run which this one continues did not write."""
        rest = chunks.outside(self._done)
        kept = int(chunks.lengths.sum(dtype=np.int64) - rest.lengths.sum(dtype=np.int64))
        self._outcome.kept_bytes += kept
        self._advance(kept)
        return rest

    def _holes(self, chunks: Chunks, position: int, end: int) -> None:
        """Leave holes where nothing covers [position, end). What was lost with its page covers too: it is no hole."""
        for hole in chunks.holes(within(self._lost_pages, position, end - position), position, end):
            self._outcome.hole_bytes += hole.length
            if not self._target.reads_zero:
                self._target.write_zeros(hole.offset, hole.length)
            self._advance(hole.length)

    def _fetch(self, number: int) -> None:
        """Turn containers into runs and runs into bytes, until there are no more."""
        while (item := self._fetching.request(number)) is not None:
            if isinstance(item, Chunks):
                self._fetching.planned(self._runs(item))
            else:
                self._fetching.fetched(self._fetched(item))

    def _runs(self, chunks: Chunks) -> list[Run]:
        """What to fetch for the chunks of one container."""
        cid = int(chunks.cids[0])
        try:
            footer = self._containers.footer(cid)
        except DamageFault as fault:
            self._lose_chunks(chunks, 0, len(chunks.slots), fault)
            return []
        return list(runs(cid, self._confirmed(chunks, footer, cid), footer))

    def _fetched(self, run: Run) -> Fetched:
        try:
            raw = self._containers.extent(run.cid, run.offset, run.length)
        except DamageFault as fault:  # gone, though its footer is remembered
            return Fetched(run, None, fault)
        self._containers.learn_key(run.cid, raw)
        return Fetched(run, raw)

    def _open(self) -> None:
        """Turn bytes into the disk, until there are no more."""
        opener = Opener(self._containers, self._fingerprinter, sealed_pool=self._pool.parameters.encrypted)
        while (fetched := self._fetching.take()) is not None:
            run = fetched.run
            if fetched.raw is None:
                assert fetched.fault is not None
                self._lose_chunks(run.chunks, run.records[0].first_row, run.records[-1].last_row, fetched.fault)
            else:
                for batch in opener.open(run, fetched.raw):
                    self._write(run.chunks, batch)
            self._fetching.opened(fetched)

    def _write(self, chunks: Chunks, batch: Batch) -> None:
        """Write what was opened, neighbours in one call; report what was lost."""
        for record, fault in batch.lost:
            self._lose_chunks(chunks, record.first_row, record.last_row, fault)
        view = memoryview(batch.memory)
        pieces: list[tuple[int, int, int]] = []  # disk offset, start in memory, length
        for record, start in zip(batch.records, batch.starts, strict=True):
            for offset in chunks.offsets[record.first_row : record.last_row].tolist():
                pieces.append((offset, start, record.plain_len))
        for offset, start, length in neighbours(pieces):
            self._target.write(offset, view[start : start + length])
            with self._lock:
                self._outcome.bytes_written += length
            self._advance(length)

    def _confirmed(self, chunks: Chunks, footer: Footer, cid: int) -> Chunks:
        """The chunks in slot order, each slot confirmed by the footer; what the container does not hold is lost."""
        found, missing = confirmed(chunks, footer, partial(self._containers.slot_of, cid))
        for row, fault in missing:
            self._lose_chunks(chunks, row, row + 1, fault)
        return found

    def _lose_chunks(self, chunks: Chunks, first: int, last: int, fault: DamageFault) -> None:
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
