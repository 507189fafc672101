"""A session kept by whoever has the pool open: `SessionLog` with the repository at hand."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Set
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from media.container import Footer, Kind
from media.container_reader import ContainerReader, containers_of
from media.distrust import mark_unproven
from media.faults import DamageFault, FormatTooNew, ParentDamaged
from media.ids import CONDEMNATIONS
from media.keys import SealingKey
from media.known_chunks import Fingerprints, KnownChunks, Places
from media.page import Leaf, PageRef
from media.page_packing import PagePacker
from media.pool import Pool
from media.recovery_point import JSON, Commit, DiskTree, Machine, RecoveryPoint, read_point
from media.session import Process, Session
from media.session_log import DiskName, ParentDisk, Terms, WrittenDisk
from media.tree import Root, TreeReader, TreeUpdate, depth_of
from runtime.clock import Clock


class LocalLog:
    """Use `begin`."""

    def __init__(
        self,
        session: Session,
        known: KnownChunks,
        containers: ContainerReader,
        clock: Clock,
        machine: Machine,
        disks: list[DiskName],
        before: RecoveryPoint | None,
        page_container_bytes: int,
        there: Set[int] | None,
    ) -> None:
        pool = session.pool
        self.terms = Terms.of(pool)
        self.parent = {} if before is None else {d.key: _parent_disk(d, pool) for d in before.disks}
        self.before = before
        self._session = session
        self._known = known
        self._containers = containers
        self._clock = clock
        self._machine = machine
        self._disks = disks
        old = {} if before is None else {disk.key: disk for disk in before.disks}
        self._old = [old.get(disk.key) for disk in disks]
        self._tree = TreeReader(containers, pool.keys.page)
        # What may be inherited from: the containers that lie in the repository.
        if before is None:
            there = set()
        elif there is None:
            there = containers_of(pool.repository)
        self._there = np.array(sorted(there), np.uint64)
        self._pages = PagePacker(session, self._keep_pages, page_container_bytes)
        self._leaves: list[dict[int, PageRef | None]] = [{} for _ in disks]  # only those that are not the parent's
        self._lock = threading.Lock()
        self._stored_bytes = 0

    @staticmethod
    def begin(
        pool: Pool,
        known: KnownChunks,
        containers: ContainerReader,
        clock: Clock,
        process: Process,
        machine: Machine,
        disks: list[DiskName],
        parent: Commit | None,
        page_container_bytes: int = 0,
        there: Set[int] | None = None,
    ) -> LocalLog:
        """Claim a session (W1), look at what may be inherited (W4). 0: page containers as large as the pool's.

        `there`: the containers in the repository, where they were listed since the parent was found; else they are
        listed now.

        Raises RepositoryFault, FormatTooNew, ParentUnfit, ParentDamaged (try without a parent).
        """
        session = Session.begin(pool, clock, process)
        try:
            if next(iter(pool.repository.list(CONDEMNATIONS)), None) is not None:  # W2, after W1
                raise FormatTooNew(
                    f"{pool.repository.url}: collected by a later version; this build must not write to it"
                )
            before = None if parent is None else _inherited(session, parent)
            size = page_container_bytes or pool.parameters.container_bytes
            return LocalLog(session, known, containers, clock, machine, disks, before, size, there)
        except BaseException as failure:
            session.abort(type(failure).__name__)
            raise

    @property
    def sid(self) -> int:
        return self._session.sid

    def next_cid(self) -> int:
        return self._session.next_cid(Kind.DATA)

    def key_for(self, records: int) -> SealingKey:
        return self._session.key_for(records)

    def put_container(self, cid: int, container: memoryview, footer: Footer) -> None:
        self._keep(cid, container, footer)
        self._known.record(cid, np.ascontiguousarray(footer["fingerprint"]))

    def _keep(self, cid: int, container: memoryview, footer: Footer) -> None:
        self._session.put_container(cid, container)
        with self._lock:
            self._stored_bytes += len(container)
        self._containers.remember(cid, footer)

    def _keep_pages(self, cid: int, container: memoryview, footer: Footer) -> None:
        self._keep(cid, container, footer)
        self._containers.remember_pages(cid, container, footer)

    def locate(self, fingerprints: Fingerprints) -> Places:
        return self._containers.confirm(self._known.locate(fingerprints), fingerprints)

    def parent_segments(self, disk: int) -> Iterator[int]:
        old = self._old[disk]
        if old is None:
            return
        try:
            for segment, _ in self._tree.leaves(old.root):
                yield segment
        except DamageFault as fault:
            raise ParentDamaged(f"disk {disk} of the parent: {fault}") from fault

    def expect(self, disk: int, segments: list[int]) -> None:
        """Pages are at hand."""

    def parent_leaf(self, disk: int, segment: int) -> Leaf | None:
        old = self._old[disk]
        if old is None:
            return None
        try:
            ref = self._tree.leaf_ref(old.root, segment)
            return None if ref is None else self._inheritable(self._tree.leaf(ref, segment))
        except DamageFault as fault:
            raise ParentDamaged(f"disk {disk}, segment {segment} of the parent: {fault}") from fault

    def _inheritable(self, leaf: Leaf) -> Leaf:
        """The parent's leaf with a miss for every place whose container is gone."""
        there = among(self._there, leaf.places.cids)
        if there.all():
            return leaf
        return replace(leaf, places=Places(np.where(there, leaf.places.cids, np.uint64(0)), leaf.places.slots))

    def put_leaf(self, disk: int, segment: int, leaf: Leaf | None) -> None:
        written = None if leaf is None else self._pages.add(leaf)
        with self._lock:
            self._leaves[disk][segment] = written

    def distrust(self, disk: int, places: list[int]) -> list[str]:
        if self.before is None:
            return []
        try:
            return mark_unproven(self._session.pool, self.before, self._disks[disk].key, places, self._clock)
        except DamageFault as fault:
            raise ParentDamaged(f"disk {disk} of the parent: {fault}") from fault

    def beat(self) -> None:
        self._session.beat()

    def commit(self, disks: list[WrittenDisk], description: JSON, statistics: JSON) -> RecoveryPoint:
        roots = [self._root(number) for number in range(len(self._disks))]
        self._pages.flush()  # W6
        point = self._point(roots, disks, description, statistics)
        self._session.commit(point)
        self._release()
        return point

    def _root(self, number: int) -> Root:
        """The new root of a disk's tree: only the changed leaves and the paths to them are new pages."""
        old = self._old[number]
        segments = -(-self._disks[number].size // self.terms.parameters.segment_bytes)
        old_root = Root(depth_of(segments), None) if old is None else old.root
        there = set(self._there.tolist())
        try:
            update = TreeUpdate(self._tree, old_root, segments, there.__contains__, self._pages.add)
            return update.apply(self._leaves[number])
        except DamageFault as fault:
            raise ParentDamaged(f"disk {number} of the parent: {fault}") from fault

    def _point(
        self, roots: list[Root], written: list[WrittenDisk], description: JSON, statistics: JSON
    ) -> RecoveryPoint:
        parameters, disks = self.terms.parameters, []
        for number, (name, root, facts) in enumerate(zip(self._disks, roots, written, strict=True)):
            old = self._old[number]
            disks.append(
                DiskTree(
                    disk=number,
                    key=name.key,
                    size=name.size,
                    data_bytes=facts.grown_bytes + (old.data_bytes if old else 0),
                    average_chunk_bytes=parameters.average_chunk_bytes,
                    chunking_key=self._session.pool.keys.chunking_key_id,
                    chunker=parameters.chunker,
                    root=root,
                    change_id=facts.change_id,
                    proof=facts.proof,
                )
            )
        disk_bytes = sum(disk.size for disk in disks)
        return RecoveryPoint(
            sid=self.sid,
            machine=self._machine,
            parent=None if self.before is None else self.before.sid,
            time=self._clock.now(),
            disks=disks,
            description=description,
            statistics={
                **statistics,
                "disk_bytes": disk_bytes,
                "hole_bytes": disk_bytes - sum(disk.data_bytes for disk in disks),
                "stored_bytes": self._stored_bytes,
            },
        )

    def abort(self, reason: str) -> None:
        self._session.abort(reason)
        self._release()

    def _release(self) -> None:
        """What an ended session needs no more: somebody may remember it for long."""
        self._pages.drop()
        self._leaves = [{} for _ in self._disks]
        self._there = np.empty(0, np.uint64)


def _inherited(session: Session, parent: Commit) -> RecoveryPoint:
    session.check_parent(parent.sid)  # W4
    try:
        return read_point(session.pool, parent)
    except DamageFault as fault:
        raise ParentDamaged(f"recovery point {parent.id}: {fault}") from fault


def _parent_disk(disk: DiskTree, pool: Pool) -> ParentDisk:
    return ParentDisk(disk.size, disk.resumable_in(pool), disk.change_id, disk.proof)


def among(ascending: NDArray[np.uint64], values: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of `values` are in `ascending`."""
    if not len(ascending):
        return np.zeros(len(values), np.bool_)
    at = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    found: NDArray[np.bool_] = ascending[at] == values
    return found
