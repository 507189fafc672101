"""The plan of a restore: the chunks of a window of a disk, by container, and what to fetch of each container.

Columns and rows only; nothing here reads. Per-chunk Python costs seconds on a large disk, so what the reader needs of
each record is made at once for a whole container.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from media.container import Footer
from media.extents import Extent
from media.faults import RecordMissing
from media.known_chunks import Fingerprints, keys
from media.page import Leaf
from media.record import HEADER_BYTES

_GAP_BYTES = 1 << 20  # unused bytes read rather than asking again
# Bytes asked for at once. Several requests share a container: the first bytes are there sooner, more requests fit into
# the same memory, and blocks of this size come from the heap again, where whole containers would be fresh memory, which
# the kernel clears page by page: a quarter of the CPU seconds of a local restore, measured.
FETCH_BYTES = 8 << 20


@dataclass(frozen=True)
class Chunks:
    """n chunks of a disk as columns, each with the place that its leaf names."""

    offsets: NDArray[np.uint64]
    lengths: NDArray[np.uint32]
    fingerprints: Fingerprints
    cids: NDArray[np.uint64]
    slots: NDArray[np.uint32]

    @staticmethod
    def none() -> Chunks:
        """No chunks."""
        n32, n64 = np.empty(0, np.uint32), np.empty(0, np.uint64)
        return Chunks(n64, n32, np.empty((0, 32), np.uint8), n64, n32)

    @staticmethod
    def of(leaf: Leaf, base: int) -> Chunks:
        """The chunks of a leaf whose segment begins at `base`."""
        return Chunks(
            leaf.offsets.astype(np.uint64) + np.uint64(base),
            leaf.lengths,
            leaf.fingerprints,
            leaf.places.cids,
            leaf.places.slots,
        )

    @staticmethod
    def joined(parts: list[Chunks]) -> Chunks:
        """All of them, in order."""
        if not parts:
            return Chunks.none()
        return Chunks(*(np.concatenate(columns) for columns in zip(*(part.columns() for part in parts), strict=True)))

    def columns(self) -> tuple[NDArray[Any], ...]:
        return self.offsets, self.lengths, self.fingerprints, self.cids, self.slots

    def rows(self, rows: NDArray[np.int64]) -> Chunks:
        """Some of them."""
        return Chunks(*(column[rows] for column in self.columns()))

    def extents(self, first: int, last: int) -> list[Extent]:
        """Where the chunks of rows [first, last) are on the disk."""
        return [
            Extent(offset, length)
            for offset, length in zip(self.offsets[first:last].tolist(), self.lengths[first:last].tolist(), strict=True)
        ]

    def outside(self, done: list[Extent]) -> Chunks:
        """Those that do not lie in one of `done`, which are normal."""
        if not done:
            return self
        starts = np.array([extent.offset for extent in done], np.uint64)
        ends = np.array([extent.end for extent in done], np.uint64)
        at = np.searchsorted(starts, self.offsets, side="right")
        inside = (at > 0) & (self.offsets + self.lengths <= ends[at - 1])
        return self.rows(np.flatnonzero(~inside))

    def by_container(self) -> list[Chunks]:
        """Grouped by container, the groups in order of the first offset that needs them."""
        order = np.argsort(self.cids, kind="stable")
        borders = np.flatnonzero(np.diff(self.cids[order])) + 1
        groups = [rows for rows in np.split(order, borders) if len(rows)]
        groups.sort(key=lambda rows: int(rows[0]))
        return [self.rows(rows) for rows in groups]

    def holes(self, others: Iterable[Extent], position: int, end: int) -> Iterator[Extent]:
        """What neither these chunks, which are in [position, end), nor `others` cover of it.

        Nothing of them overlaps.
        """
        rest = list(others)
        starts = np.concatenate([self.offsets, np.array([e.offset for e in rest], np.uint64)])
        ends = np.concatenate([self.offsets + self.lengths, np.array([e.end for e in rest], np.uint64)])
        firsts = np.concatenate([np.array([position], np.uint64), np.sort(ends)])
        lasts = np.concatenate([np.sort(starts), np.array([end], np.uint64)])
        for row in np.flatnonzero(lasts > firsts).tolist():
            yield Extent(int(firsts[row]), int(lasts[row]) - int(firsts[row]))


class Wanted(NamedTuple):
    """A record to open: where it lies in its container, what it must be, and the rows of chunks that it is."""

    offset: int
    end: int
    slot: int
    plain_len: int
    fingerprint: bytes
    first_row: int
    last_row: int


@dataclass(frozen=True)
class Run:
    """Records of one container that are fetched with one request, and the chunks that they are."""

    cid: int
    chunks: Chunks
    records: list[Wanted]

    @property
    def offset(self) -> int:
        return self.records[0].offset

    @property
    def length(self) -> int:
        return self.records[-1].end - self.records[0].offset


def wanted_records(chunks: Chunks, footer: Footer) -> list[Wanted]:
    """One for every slot that `chunks`, which are in slot order and confirmed by `footer`, need; in that order."""
    if not len(chunks.slots):
        return []
    firsts = np.flatnonzero(np.diff(chunks.slots.astype(np.int64), prepend=-1))
    entries = footer[chunks.slots[firsts]]
    offsets = entries["offset"].astype(np.int64)
    return [
        Wanted(*fields)
        for fields in zip(
            offsets.tolist(),
            (offsets + HEADER_BYTES + entries["stored_len"]).tolist(),
            chunks.slots[firsts].tolist(),
            chunks.lengths[firsts].tolist(),
            keys(chunks.fingerprints[firsts]),
            firsts.tolist(),
            [*firsts[1:].tolist(), len(chunks.slots)],
            strict=True,
        )
    ]


def runs(cid: int, chunks: Chunks, footer: Footer) -> Iterator[Run]:
    """What to fetch of a container for `chunks`, which are as for `wanted_records`.

    Up to 8 MiB at a time. Gaps up to 1 MiB are read along; where more than half of the container is used, all are.
    """
    wanted = wanted_records(chunks, footer)
    used = sum(record.end - record.offset for record in wanted)
    whole = 2 * used > int(footer["stored_len"].sum(dtype=np.int64)) + HEADER_BYTES * len(footer)
    run: list[Wanted] = []
    for record in wanted:
        apart = run and not whole and record.offset - run[-1].end > _GAP_BYTES
        if run and (apart or record.end - run[0].offset > FETCH_BYTES):
            yield Run(cid, chunks, run)
            run = []
        run.append(record)
    if run:
        yield Run(cid, chunks, run)


def confirmed(
    chunks: Chunks, footer: Footer, slot_of: Callable[[int, bytes], int]
) -> tuple[Chunks, list[tuple[int, RecordMissing]]]:
    """The chunks of one container in slot order, each slot confirmed by the footer; and the rows that it lacks.

    `slot_of(hint, fingerprint)` searches for a chunk that is not where its leaf says; it raises RecordMissing.
    """
    slots = chunks.slots.astype(np.int64)
    wrong = slots >= len(footer)
    there = np.flatnonzero(~wrong)
    wrong[there] = (footer["fingerprint"][slots[there]] != chunks.fingerprints[there]).any(axis=1)
    found = np.ones(len(slots), np.bool_)
    missing = []
    for row in np.flatnonzero(wrong).tolist():
        try:
            slots[row] = slot_of(int(slots[row]), chunks.fingerprints[row].tobytes())
        except RecordMissing as fault:
            found[row] = False
            missing.append((row, fault))
    rows = np.flatnonzero(found)
    rows = rows[np.lexsort((chunks.offsets[rows], slots[rows]))]
    return replace(chunks.rows(rows), slots=slots[rows].astype(np.uint32)), missing


def neighbours(pieces: list[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
    """Pieces (disk offset, start in memory, length) that follow one another both there and there become one."""
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
