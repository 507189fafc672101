"""A backup of one machine: ingest of its disks into a session that has begun, and commit. The one write path.

The order is what keeps the promise: whoever keeps the session claimed it (W1) and looked at what may be inherited (W4);
here data is stored, and when all of it is durable (W6), the session commits (W7).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ext.fingerprint import Fingerprinter
from media.chunking import cutter_of
from media.disk import Disk
from media.extents import Extent
from media.ingest import Counts, DiskIngest, Worker
from media.locator import Locator
from media.packing import ChunkPacker, Uploads
from media.page import Leaf
from media.proof import SHARE, Proof, Walk, found_with, proof_of, turn, whole
from media.proving import DiskProving, Findings
from media.recovery_point import JSON, RecoveryPoint
from media.session_log import ParentDisk, SessionLog, WrittenDisk
from runtime.clock import Clock
from runtime.tasks import ahead, in_parallel

UPLOAD_THREADS = 2
PARENT_LEAVES_AHEAD = 32  # a request each; what is unchanged is read faster than a distant repository answers one


@dataclass(frozen=True)
class Source:
    """One disk to back up.

    `changes` are what changed since the parent; None when that is not known: all is read then.
    """

    key: str
    disk: Disk
    changes: list[Extent] | None = None
    change_id: str | None = None
    proof_days: int = 0  # what is called unchanged is read once in so many days (`media.proof`); 0: it is believed


@dataclass(frozen=True)
class Report:
    """The point that was made, and the seconds that its phases took, summed over workers."""

    point: RecoveryPoint
    phases: dict[str, float]
    proofs: dict[str, JSON]  # of disks by key: how much of what was called unchanged was read, and what that is worth


class Backup:
    """One run over the disks that its session was begun for, in that order; used once."""

    def __init__(
        self,
        log: SessionLog,
        sources: list[Source],
        clock: Clock,
        level: int,
        workers: int,
        advance: Callable[[int], None],
        all_read: Callable[[], None] = lambda: None,
        distrusted: Callable[[str, list[str]], None] = lambda _key, _points: None,
    ) -> None:
        """`all_read` is called when the last byte was read and found steady, before what it became is durable.

        `distrusted` is called with the key of a disk whose changes are not what they were said to be, and the ids of
        the points that were marked suspect for it; it is read whole then.
        """
        self._distrusted = distrusted
        self._log = log
        self._sources = sources
        self._clock = clock
        self._level = level
        self._worker_count = workers
        self._advance = advance
        self._all_read = all_read
        self._phases: defaultdict[str, float] = defaultdict(float)
        self._proofs: dict[str, Proof] = {}
        self._proof_reports: dict[str, JSON] = {}
        self._wrong: set[str] = set()
        self._proof_bytes = 0

    def run(self, description: JSON) -> Report:
        """Back up. On return the recovery point is durable.

        Raises SourceFault, RepositoryFault, ParentDamaged (try without a parent), SessionEnded, SessionFull,
        SessionUnknown. Nothing half-made is visible after a failure or an interrupt: the point is not
        there, or, only when it came during the commit, there and whole. What was stored is found by the next run.
        """
        try:
            return self._run(description)
        except BaseException as failure:
            self._log.abort(type(failure).__name__)
            raise

    def _run(self, description: JSON) -> Report:
        locator = Locator(self._log.locate)
        uploads = Uploads(self._log, self._worker_count + UPLOAD_THREADS, UPLOAD_THREADS, locator.durable)
        try:
            workers = self._ingest(uploads, locator)
            for source in self._sources:
                source.disk.check()
            self._all_read()
            with _Timed(self._clock, self._phases, "flush"):
                uploads.finish()  # W6
        except BaseException:
            uploads.abandon()
            raise
        total = _sum(worker.counts for worker in workers)
        disks = [self._written(source, total.data_bytes[n]) for n, source in enumerate(self._sources)]
        statistics = {
            "read_bytes": total.read_bytes + self._proof_bytes,
            "new_bytes": total.new_bytes,
            "chunks": total.chunks,
            "new_chunks": total.new_chunks,
        }
        with _Timed(self._clock, self._phases, "commit"):
            point = self._log.commit(disks, description, statistics)
        return Report(point, dict(self._phases), self._proof_reports)

    def _written(self, source: Source, grown_bytes: int) -> WrittenDisk:
        proof = self._proofs.get(source.key)
        # From where changes were told wrongly they may be told wrongly again: the next run counts from nothing.
        change_id = None if source.key in self._wrong else source.change_id
        return WrittenDisk(grown_bytes, change_id, None if proof is None else proof.json())

    def _ingest(self, uploads: Uploads, locator: Locator) -> list[Worker]:
        terms = self._log.terms
        segment_bytes = terms.parameters.segment_bytes
        cutter = cutter_of(terms.chunking_key, terms.parameters.average_chunk_bytes)
        fingerprinter = Fingerprinter(terms.fingerprint_key)
        longest = min(segment_bytes, max((source.disk.size for source in self._sources), default=0))
        memories = [np.empty(longest, np.uint8) for _ in range(self._worker_count)]
        ingests = []
        for number, source in enumerate(self._sources):
            parent = self._log.parent.get(source.key)
            resumable = parent is not None and parent.resumable
            changes = source.changes if resumable else None
            if source.proof_days:
                changes = self._proven(number, source, changes, parent, fingerprinter, memories)
            ingests.append(
                DiskIngest(number, source.disk, changes, cutter, fingerprinter, self._log, parent, locator, self._clock)
            )
        workers = [Worker(memory, ChunkPacker(uploads, self._level)) for memory in memories]

        def step(number: int, item: tuple[tuple[DiskIngest, int], Leaf | None]) -> None:
            (ingest, segment), old = item
            ingest.ingest(workers[number], segment, old)
            self._log.beat()
            self._advance(min((segment + 1) * segment_bytes, ingest.disk.size) - segment * segment_bytes)

        try:
            items = ahead(PARENT_LEAVES_AHEAD, _items(ingests), lambda item: item[0].parent_leaf(item[1]))
            in_parallel(self._worker_count, items, step)
        finally:
            for worker in workers:
                for phase, seconds in worker.counts.phases.items():
                    self._phases[phase] += seconds
        for worker in workers:
            worker.packer.flush()
        return workers

    def _proven(
        self,
        number: int,
        source: Source,
        changes: list[Extent] | None,
        parent: ParentDisk | None,
        fingerprinter: Fingerprinter,
        memories: list[NDArray[np.uint8]],
    ) -> list[Extent] | None:
        """`changes`, when as much as a run proves of the rest was proven; None when they are found wrong."""
        now = self._clock.now()
        before = None if parent is None else proof_of(parent.proof)
        if changes is None or parent is None or parent.size != source.disk.size:
            self._proofs[source.key] = whole(before, now)
            return changes
        with _Timed(self._clock, self._phases, "prove"):
            proving = DiskProving(number, source.disk, changes, fingerprinter, self._log)
            walk = Walk(self._log.terms.fingerprint_key, source.key, proving.cell_count)
            mine = turn(walk, before, source.proof_days, now, changes, proving.cell_bytes)
            found = proving.prove(mine.cells, memories)
            self._proof_bytes += found.read_bytes
            self._proofs[source.key] = mine.proof
            self._proof_reports[source.key] = _told(found, walk.cell_count, mine.proof)
            if not found.wrong:
                return changes
            everything = proving.prove(walk.between(0, 1 << 64), memories)  # so that all that is wrong is known
            self._proof_bytes += everything.read_bytes
        wrong = np.array(everything.wrong or found.wrong, np.int64)
        points = self._log.distrust(number, walk.places(wrong).tolist())
        self._distrusted(source.key, points)
        self._wrong.add(source.key)
        self._proofs[source.key] = whole(mine.proof, now)
        self._proof_reports[source.key] |= {"wrong_cells": len(wrong), "suspect_points": points}
        return None


def _told(found: Findings, cell_count: int, proof: Proof) -> JSON:
    done = proof.whole or proof.walked >= 1
    return {
        "cells": found.cells,
        "of_cells": cell_count,
        "read_bytes": found.read_bytes,
        "walked": 1.0 if done else round(proof.walked, 6),
        "finds_share": SHARE,
        "probability": round(found_with(found.cells), 6),
        "probability_so_far": 1.0 if done else round(found_with(proof.walked * cell_count), 6),
        "wrong_cells": len(found.wrong),
    }


def _items(ingests: list[DiskIngest]) -> Iterator[tuple[DiskIngest, int]]:
    for ingest in ingests:
        yield from ((ingest, segment) for segment in ingest.segments())


def _sum(counts: Iterable[Counts]) -> Counts:
    total = Counts()
    for one in counts:
        total.read_bytes += one.read_bytes
        total.new_bytes += one.new_bytes
        total.chunks += one.chunks
        total.new_chunks += one.new_chunks
        total.data_bytes.update(one.data_bytes)
    return total


class _Timed:
    """Adds the seconds of a `with` block to a phase."""

    def __init__(self, clock: Clock, phases: defaultdict[str, float], name: str) -> None:
        self._clock, self._phases, self._name = clock, phases, name

    def __enter__(self) -> None:
        self._started = self._clock.monotonic_seconds()

    def __exit__(self, *_: object) -> None:
        self._phases[self._name] += self._clock.monotonic_seconds() - self._started
