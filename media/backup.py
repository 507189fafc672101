"""A backup of one machine: session, ingest of its disks, pages, commit. The one write path.

The order is what keeps the promise: claim a session (W1), look at what may be inherited (W4), store data, then pages,
wait until both are durable (W6), then one put-if-absent makes the recovery point (W7).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ext.fingerprint import Fingerprinter
from media.chunking import cutter_of
from media.container_reader import ContainerReader, containers_of
from media.disk import Disk
from media.extents import Extent
from media.faults import DamageFault, FormatTooNew, ParentDamaged
from media.ids import CONDEMNATIONS
from media.ingest import Counts, DiskIngest, Worker
from media.known_chunks import KnownChunks
from media.locator import FreshChunks, Locator
from media.packing import ChunkPacker, PagePacker, Uploads
from media.pool import Pool
from media.recovery_point import JSON, Commit, DiskTree, Machine, RecoveryPoint, read_point
from media.session import Process, Session
from media.tree import Root, TreeReader, TreeUpdate, depth_of
from runtime.clock import Clock
from runtime.tasks import in_parallel

UPLOAD_THREADS = 2


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
    """One run; used once."""

    def __init__(
        self,
        pool: Pool,
        machine: Machine,
        sources: list[Source],
        known: KnownChunks,
        containers: ContainerReader,
        clock: Clock,
        process: Process,
        level: int,
        workers: int,
        advance: Callable[[int], None],
    ) -> None:
        self._pool = pool
        self._machine = machine
        self._sources = sources
        self._known = known
        self._containers = containers
        self._clock = clock
        self._process = process
        self._level = level
        self._worker_count = workers
        self._advance = advance
        self._tree = TreeReader(containers, pool.keys.page)
        self._there: set[int] = set()  # what may be inherited from: the containers that lie in the repository
        self._phases: defaultdict[str, float] = defaultdict(float)

    def run(self, parent: Commit | None, description: JSON) -> Report:
        """Back up, inheriting from `parent`. On return the recovery point is durable.

        Raises SourceFault, RepositoryFault, ParentUnfit, ParentDamaged (try without a parent), SessionEnded,
        SessionFull, SessionUnknown. Nothing half-made is visible after a failure or an interrupt: the point is not
        there, or, only when it came during the commit, there and whole. What was stored is found by the next run.
        """
        session = Session.begin(self._pool, self._clock, self._process)
        try:
            return self._run(session, parent, description)
        except BaseException as failure:
            session.abort(type(failure).__name__)
            raise

    def _run(self, session: Session, parent: Commit | None, description: JSON) -> Report:
        if next(iter(self._pool.repository.list(CONDEMNATIONS)), None) is not None:  # W2, after W1
            raise FormatTooNew(
                f"{self._pool.repository.url}: collected by a later version; this build must not write to it"
            )
        before = None
        if parent is not None:
            session.check_parent(parent.sid)
            try:
                before = read_point(self._pool, parent)
            except DamageFault as fault:
                raise ParentDamaged(f"recovery point {parent.id}: {fault}") from fault
            self._there = containers_of(self._pool.repository)
        fresh = FreshChunks(self._known, self._containers)
        uploads = Uploads(session, self._worker_count + UPLOAD_THREADS + 1, UPLOAD_THREADS, fresh.durable)
        try:
            pages = PagePacker(uploads, self._pool.keys.page)
            workers, ingests = self._ingest(session, uploads, pages, fresh, before)
            roots = [
                self._root(ingest, source, before, pages) for ingest, source in zip(ingests, self._sources, strict=True)
            ]
            pages.flush()
            with _Timed(self._clock, self._phases, "flush"):
                uploads.finish()  # W6
        except BaseException:
            uploads.abandon()
            raise
        for source in self._sources:
            source.disk.check()
        point = self._point(session, before, roots, workers, uploads.stored_bytes, description)
        with _Timed(self._clock, self._phases, "commit"):
            session.commit(point)
        return Report(point, dict(self._phases))

    def _ingest(
        self, session: Session, uploads: Uploads, pages: PagePacker, fresh: FreshChunks, before: RecoveryPoint | None
    ) -> tuple[list[Worker], list[DiskIngest]]:
        parameters = self._pool.parameters
        cutter = cutter_of(self._pool.keys, parameters.average_chunk_bytes)
        fingerprinter = Fingerprinter(self._pool.keys.fingerprint)
        locator = Locator(fresh, self._known, self._containers)
        ingests = []
        for number, source in enumerate(self._sources):
            old = _disk_of(before, source.key)
            resumable = old is not None and old.resumable_in(self._pool)
            ingests.append(
                DiskIngest(
                    number,
                    source.disk,
                    Root(1, None) if old is None else old.root,
                    0 if old is None else old.size,
                    source.changes if resumable else None,
                    cutter,
                    fingerprinter,
                    parameters.segment_bytes,
                    self._tree,
                    np.array(sorted(self._there), np.uint64),
                    locator,
                    fresh,
                    pages,
                    self._clock,
                )
            )
        longest = min(parameters.segment_bytes, max((source.disk.size for source in self._sources), default=0))
        workers = [
            Worker(np.empty(longest, np.uint8), ChunkPacker(uploads, self._level)) for _ in range(self._worker_count)
        ]

        def step(number: int, item: tuple[DiskIngest, int]) -> None:
            ingest, segment = item
            ingest.ingest(workers[number], segment)
            session.beat()
            self._advance(
                min((segment + 1) * parameters.segment_bytes, ingest.disk.size) - segment * parameters.segment_bytes
            )

        try:
            in_parallel(self._worker_count, _items(ingests), step)
        finally:
            for worker in workers:
                for phase, seconds in worker.counts.phases.items():
                    self._phases[phase] += seconds
        for worker in workers:
            worker.packer.flush()
        return workers, ingests

    def _root(self, ingest: DiskIngest, source: Source, before: RecoveryPoint | None, pages: PagePacker) -> Root:
        """The new root of a disk's tree: only the changed leaves and the paths to them are new pages."""
        old = _disk_of(before, source.key)
        segments = -(-source.disk.size // self._pool.parameters.segment_bytes)
        old_root = Root(depth_of(segments), None) if old is None else old.root
        try:
            return TreeUpdate(self._tree, old_root, segments, self._there.__contains__, pages.add).apply(ingest.leaves)
        except DamageFault as fault:
            raise ParentDamaged(f"disk {ingest.number} of the parent: {fault}") from fault

    def _point(
        self,
        session: Session,
        before: RecoveryPoint | None,
        roots: list[Root],
        workers: list[Worker],
        stored_bytes: int,
        description: JSON,
    ) -> RecoveryPoint:
        total = _sum(worker.counts for worker in workers)
        parameters, disks = self._pool.parameters, []
        for number, (source, root) in enumerate(zip(self._sources, roots, strict=True)):
            old = _disk_of(before, source.key)
            disks.append(
                DiskTree(
                    disk=number,
                    key=source.key,
                    size=source.disk.size,
                    data_bytes=total.data_bytes[number] + (old.data_bytes if old else 0),
                    average_chunk_bytes=parameters.average_chunk_bytes,
                    chunking_key=self._pool.keys.chunking_key_id,
                    chunker=parameters.chunker,
                    root=root,
                    change_id=source.change_id,
                )
            )
        disk_bytes = sum(disk.size for disk in disks)
        statistics = {
            "disk_bytes": disk_bytes,
            "read_bytes": total.read_bytes,
            "hole_bytes": disk_bytes - sum(disk.data_bytes for disk in disks),
            "new_bytes": total.new_bytes,
            "stored_bytes": stored_bytes,
            "chunks": total.chunks,
            "new_chunks": total.new_chunks,
        }
        return RecoveryPoint(
            sid=session.sid,
            machine=self._machine,
            parent=None if before is None else before.sid,
            time=self._clock.now(),
            disks=disks,
            description=description,
            statistics=statistics,
        )


def _items(ingests: list[DiskIngest]) -> Iterator[tuple[DiskIngest, int]]:
    for ingest in ingests:
        yield from ((ingest, segment) for segment in ingest.segments())


def _disk_of(point: RecoveryPoint | None, key: str) -> DiskTree | None:
    return None if point is None else next((disk for disk in point.disks if disk.key == key), None)


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
