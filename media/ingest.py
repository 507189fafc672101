"""Ingest: a disk's bytes become chunks in containers and leaf pages (docs/design/datapath.md).

Segments are independent, so a worker takes one and does all of it: read, cut, fingerprint, compare with the parent's
leaf, locate the rest in one batch, pack what is new. No queue between stages; every heavy call releases the GIL; no
Python runs per chunk unless the chunk is new or was found in the index.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ext.cut import BLOCK_BYTES, Cutter
from ext.fingerprint import Fingerprinter
from media.chunking import Cuts, cut_whole, resume_cut
from media.disk import Disk
from media.extents import Extent, by_segment, gaps, normal, outward, within
from media.faults import ParentDamaged
from media.known_chunks import Fingerprints, Places, keys
from media.locator import Locator
from media.packing import ChunkPacker
from media.page import Leaf
from media.session_log import ParentDisk, SessionLog
from runtime.clock import Clock


@dataclass
class Counts:
    """What one worker did; bytes but for `chunks` and `new_chunks`, and seconds by phase."""

    read_bytes: int = 0
    new_bytes: int = 0
    chunks: int = 0
    new_chunks: int = 0
    data_bytes: Counter[int] = field(default_factory=Counter)  # disk -> how much more of it is data than in the parent
    phases: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))


@dataclass
class Worker:
    """What one thread owns: its segment's memory, its packer, its counts."""

    data: NDArray[np.uint8]
    packer: ChunkPacker
    counts: Counts = field(default_factory=Counts)


class DiskIngest:
    """One disk of one backup. `segments` says what is to be done, `ingest` does one; any worker may take any."""

    def __init__(
        self,
        number: int,
        disk: Disk,
        changes: list[Extent] | None,
        cutter: Cutter,
        fingerprinter: Fingerprinter,
        log: SessionLog,
        parent: ParentDisk | None,
        locator: Locator,
        clock: Clock,
    ) -> None:
        self.number = number
        self.disk = disk
        parent_size = 0 if parent is None else parent.size
        self._shrank = parent_size > disk.size
        self._cutter = cutter
        self._fingerprinter = fingerprinter
        self._segment_bytes = log.terms.parameters.segment_bytes
        self._log = log
        self._locator = locator
        self._clock = clock
        self._changes = None if changes is None else self._changes_by_segment(changes, parent_size)

    def _changes_by_segment(self, changes: list[Extent], parent_size: int) -> dict[int, list[Extent]]:
        """Whole blocks, and what a change of size adds."""
        resized = []
        if parent_size != self.disk.size:
            first = min(parent_size, self.disk.size) // BLOCK_BYTES * BLOCK_BYTES
            # A disk that shrank within a block, or to the end of one: the cut before the new end looked past it.
            first = max(0, min(first, self.disk.size - 1) // BLOCK_BYTES * BLOCK_BYTES)
            resized = [Extent(first, self.disk.size - first)]
        return by_segment(outward(normal([*changes, *resized]), BLOCK_BYTES, self.disk.size), self._segment_bytes)

    def segments(self) -> Iterator[int]:
        """The segments to look at, ascending: those that changed, or all that hold data now or held some in the parent.

        Raises ParentDamaged while it is drawn.
        """
        old = self._log.parent_segments(self.number)
        if self._changes is not None:
            count = -(-self.disk.size // self._segment_bytes)
            gone = {segment for segment in old if segment >= count} if self._shrank else set()
            segments = sorted({*self._changes, *gone})
            self._log.expect(self.number, segments)
            yield from segments
            return
        data = self._data_segments()
        upper, lower = next(data, None), next(old, None)
        while upper is not None or lower is not None:
            segment = min(s for s in (upper, lower) if s is not None)
            yield segment
            if upper == segment:
                upper = next(data, None)
            if lower == segment:
                lower = next(old, None)

    def _data_segments(self) -> Iterator[int]:
        done = -1
        for extent in self.disk.data_extents(0, self.disk.size):
            for segment in range(
                max(done + 1, extent.offset // self._segment_bytes), (extent.end - 1) // self._segment_bytes + 1
            ):
                yield segment
                done = segment

    def parent_leaf(self, segment: int) -> Leaf | None:
        """What the parent holds of a segment. Raises ParentDamaged when its pages cannot be read."""
        return self._log.parent_leaf(self.number, segment)

    def ingest(self, worker: Worker, segment: int, old: Leaf | None) -> None:
        """Do one segment, of which the parent holds `old`. Raises SourceFault, RepositoryFault, ParentDamaged."""
        start = segment * self._segment_bytes
        size = min(self._segment_bytes, self.disk.size - start)
        if size <= 0:
            new = None  # the disk shrank: this segment is gone
        elif old is None and next(iter(self.disk.data_extents(start, size)), None) is None:
            new = None  # holes still: a disk that grew by terabytes has nothing else
        elif self._changes is None:
            new = self._whole(worker, segment, size, old)
        else:
            new = self._resumed(worker, segment, size, old)
        self._finish(worker, segment, old, new)

    def _whole(self, worker: Worker, segment: int, size: int, old: Leaf | None) -> Leaf | None:
        data = worker.data[:size]
        self._read(worker, segment, 0, size, [Extent(0, self.disk.size)])
        started = self._clock.monotonic_seconds()
        cuts = cut_whole(self._cutter, data)
        self._phase(worker, "cut", started)
        return self._leaf(worker, data, segment, cuts, np.ones(len(cuts.offsets), np.bool_), old)

    def _resumed(self, worker: Worker, segment: int, size: int, old: Leaf | None) -> Leaf | None:
        assert self._changes is not None
        data = worker.data[:size]
        start = segment * self._segment_bytes
        changes = self._changes[segment]
        before = (
            Cuts(np.empty(0, np.uint32), np.empty(0, np.uint32))
            if old is None
            else _clip(Cuts(old.offsets, old.lengths), size)
        )
        # What neither changed nor was data is a hole still: it is not read.
        may_be_data = normal([*changes, *(Extent(start + o, n) for o, n in zip(*_lists(before), strict=True))])
        inner = [Extent(e.offset - start, e.length) for e in changes]
        started, read_before = self._clock.monotonic_seconds(), worker.counts.phases["read"]
        cuts, fresh = resume_cut(
            self._cutter, before, inner, data, lambda first, last: self._read(worker, segment, first, last, may_be_data)
        )
        self._phase(worker, "cut", started + worker.counts.phases["read"] - read_before)
        return self._leaf(worker, data, segment, cuts, fresh, old)

    def _read(self, worker: Worker, segment: int, first: int, last: int, may_be_data: list[Extent]) -> None:
        """Fill [first, last) of the worker's memory with the segment's bytes; what is not in `may_be_data` is zero."""
        started = self._clock.monotonic_seconds()
        base = segment * self._segment_bytes
        view = memoryview(worker.data)
        wanted = list(within(may_be_data, base + first, last - first))
        there = normal(e for piece in wanted for e in self.disk.data_extents(piece.offset, piece.length))
        for gap in gaps(there, base + first, last - first):
            worker.data[gap.offset - base : gap.end - base] = 0
        for extent in there:
            self.disk.read_into(extent.offset, view[extent.offset - base : extent.end - base])
            worker.counts.read_bytes += extent.length
        self._phase(worker, "read", started)

    def _leaf(
        self,
        worker: Worker,
        data: NDArray[np.uint8],
        segment: int,
        cuts: Cuts,
        fresh: NDArray[np.bool_],
        old: Leaf | None,
    ) -> Leaf | None:
        """The leaf page of these cuts, every chunk of which has a place. None for a segment of holes."""
        n = len(cuts.offsets)
        worker.counts.chunks += int(fresh.sum())
        if not n:
            return None
        same_offset = _rows_of(old, cuts)
        fingerprints = np.empty((n, 32), np.uint8)
        if old is not None and not fresh.all():
            assert (same_offset[~fresh] >= 0).all(), "what was not cut anew is the parent's"
            fingerprints[~fresh] = old.fingerprints[same_offset[~fresh]]
        started = self._clock.monotonic_seconds()
        fingerprints[fresh] = self._fingerprints(data, Cuts(cuts.offsets[fresh], cuts.lengths[fresh]))
        self._phase(worker, "fingerprint", started)
        places = Places.unknown(n)
        if old is not None:
            rows = np.flatnonzero(same_offset >= 0)
            rows = rows[(old.fingerprints[same_offset[rows]] == fingerprints[rows]).all(axis=1)]
            places.cids[rows] = old.places.cids[same_offset[rows]]
            places.slots[rows] = old.places.slots[same_offset[rows]]
        if (places.cids[~fresh] == 0).any():  # not read, so it cannot be stored again
            raise ParentDamaged(
                f"disk {self.number}, segment {segment} of the parent: a container that it needs is gone"
            )
        self._place(worker, data, cuts, fingerprints, places)
        return Leaf(segment, cuts.offsets, cuts.lengths, fingerprints, places)

    def _fingerprints(self, data: NDArray[np.uint8], cuts: Cuts) -> Fingerprints:
        fingerprints = np.empty((len(cuts.offsets), 32), np.uint8)
        self._fingerprinter.batch(
            data, np.ascontiguousarray(cuts.offsets), np.ascontiguousarray(cuts.lengths), fingerprints
        )
        return fingerprints

    def _place(
        self, worker: Worker, data: NDArray[np.uint8], cuts: Cuts, fingerprints: Fingerprints, places: Places
    ) -> None:
        """Give a place to every chunk that has none: where it was found, or where it is stored now."""
        started = self._clock.monotonic_seconds()
        unknown = np.flatnonzero(places.cids == 0)
        if not len(unknown):
            return
        found = self._locator.locate(np.ascontiguousarray(fingerprints[unknown]))
        places.cids[unknown], places.slots[unknown] = found
        self._phase(worker, "locate", started)
        started = self._clock.monotonic_seconds()
        new = np.flatnonzero(places.cids == 0)
        view = memoryview(data)
        fresh = self._locator.fresh
        for row, key in zip(new.tolist(), keys(fingerprints[new]), strict=True):
            place = fresh.get(key)
            if place is None:
                offset, length = int(cuts.offsets[row]), int(cuts.lengths[row])
                place = fresh[key] = worker.packer.add(view[offset : offset + length], key)
                worker.counts.new_chunks += 1
                worker.counts.new_bytes += length
            places.cids[row], places.slots[row] = place
        self._phase(worker, "pack", started)

    def _finish(self, worker: Worker, segment: int, old: Leaf | None, new: Leaf | None) -> None:
        if old is not None and new is not None and new.says_the_same(old) and old.places.cids.all():
            return
        if old is None and new is None:
            return
        for leaf, sign in ((old, -1), (new, 1)):
            if leaf is not None:
                worker.counts.data_bytes[self.number] += sign * int(leaf.lengths.sum(dtype=np.int64))
        self._log.put_leaf(self.number, segment, new)

    def _phase(self, worker: Worker, name: str, started: float) -> None:
        worker.counts.phases[name] += self._clock.monotonic_seconds() - started


def _rows_of(old: Leaf | None, cuts: Cuts) -> NDArray[np.int64]:
    """For each cut the row of `old` with the same offset and length; -1 for none."""
    rows = np.full(len(cuts.offsets), -1, np.int64)
    if old is None or not len(old.offsets):
        return rows
    at = np.minimum(np.searchsorted(old.offsets, cuts.offsets), len(old.offsets) - 1)
    same = (old.offsets[at] == cuts.offsets) & (old.lengths[at] == cuts.lengths)
    rows[same] = at[same]
    return rows


def _clip(cuts: Cuts, size: int) -> Cuts:
    """The cuts that begin before `size`, none longer than to it: the list of a segment that became shorter."""
    kept = int(np.searchsorted(cuts.offsets, size))
    offsets = cuts.offsets[:kept]
    return Cuts(offsets, np.minimum(cuts.lengths[:kept], np.uint32(size) - offsets))


def _lists(cuts: Cuts) -> tuple[list[int], list[int]]:
    return cuts.offsets.tolist(), cuts.lengths.tolist()
