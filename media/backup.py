"""A backup of one machine: ingest of its disks into a session that has begun, and commit. The one write path.

The order is what keeps the promise: whoever keeps the session claimed it (W1) and looked at what may be inherited (W4);
here data is stored, and when all of it is durable (W6), the session commits (W7).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ext.fingerprint import Fingerprinter
from media.chunking import cutter_of
from media.disk import Disk
from media.extents import Extent
from media.ingest import Counts, DiskIngest, Worker
from media.locator import Locator
from media.packing import ChunkPacker, Uploads
from media.page import Leaf
from media.recovery_point import JSON, RecoveryPoint
from media.session_log import SessionLog, WrittenDisk
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


@dataclass(frozen=True)
class Report:
    """The point that was made, and the seconds that its phases took, summed over workers."""

    point: RecoveryPoint
    phases: dict[str, float]


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
    ) -> None:
        """`all_read` is called when the last byte was read and found steady, before what it became is durable."""
        self._log = log
        self._sources = sources
        self._clock = clock
        self._level = level
        self._worker_count = workers
        self._advance = advance
        self._all_read = all_read
        self._phases: defaultdict[str, float] = defaultdict(float)

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
        disks = [WrittenDisk(total.data_bytes[n], source.change_id) for n, source in enumerate(self._sources)]
        statistics = {
            "read_bytes": total.read_bytes,
            "new_bytes": total.new_bytes,
            "chunks": total.chunks,
            "new_chunks": total.new_chunks,
        }
        with _Timed(self._clock, self._phases, "commit"):
            point = self._log.commit(disks, description, statistics)
        return Report(point, dict(self._phases))

    def _ingest(self, uploads: Uploads, locator: Locator) -> list[Worker]:
        terms = self._log.terms
        segment_bytes = terms.parameters.segment_bytes
        cutter = cutter_of(terms.chunking_key, terms.parameters.average_chunk_bytes)
        fingerprinter = Fingerprinter(terms.fingerprint_key)
        ingests = []
        for number, source in enumerate(self._sources):
            parent = self._log.parent.get(source.key)
            resumable = parent is not None and parent.resumable
            changes = source.changes if resumable else None
            ingests.append(
                DiskIngest(number, source.disk, changes, cutter, fingerprinter, self._log, parent, locator, self._clock)
            )
        longest = min(segment_bytes, max((source.disk.size for source in self._sources), default=0))
        workers = [
            Worker(np.empty(longest, np.uint8), ChunkPacker(uploads, self._level)) for _ in range(self._worker_count)
        ]

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
