"""A MediaAgent's assignments: pools are made, points read back, settled, expired and verified, indexes rebuilt."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from media.container_reader import ContainerReader
from media.expiry import expire_point
from media.faults import DamageFault, RepositoryFault
from media.ids import sid_text
from media.marks import MarkKind, put_mark, read_marks
from media.recovery_point import Commit, Points, list_points, read_point
from media.session import settle
from media.verify import Verification, containers_of_lost, verify_point
from mediaagent.faults import RequestRefused
from mediaagent.open_pools import OpenPool
from mediaagent.pools_served import PoolsServed
from proto import agents_pb2
from proto.agent.work import Work
from runtime.clock import Clock
from runtime.tasks import worker_count

_POINTS_A_PAGE = 500

PointsRead = Callable[[Iterable[agents_pb2.PointsPage]], int]
Unseal = Callable[[bytes, str], bytes]  # a sealed secret and whose it is


class Assignments:
    """Handlers by kind. Each returns what CommServe keeps as the job's result."""

    def __init__(
        self,
        pools: PoolsServed,
        pools_changed: Callable[[], None],
        points_read: PointsRead,
        sessions_in: Callable[[str], int],
        unseal: Unseal,
        clock: Clock,
    ) -> None:
        """`pools_changed` is called when one that waited may be opened now."""
        self._pools = pools
        self._pools_changed = pools_changed
        self._unseal = unseal
        self._sessions_in = sessions_in
        self._points_read = points_read
        self._clock = clock
        self._sizes: dict[tuple[str, int], tuple[int, int, int]] = {}  # of points: they never change

    def handlers(self) -> dict[str, Callable[[Work], dict[str, Any]]]:
        return {
            "create_pool": self.create_pool,
            "keep_secret": self.keep_secret,
            "read_points": self.read_points,
            "read_register": self.read_register,
            "expire": self.expire,
            "verify": self.verify,
            "rebuild": self.rebuild,
        }

    def create_pool(self, work: Work) -> dict[str, Any]:
        wanted = work.assignment.create_pool
        secret = self._secret_of(wanted.pool, wanted.sealed_secret) if wanted.sealed_secret else ""
        size = wanted.average_chunk_bytes
        served = self._pools.create(wanted.name, wanted.url, size, secret, encrypted=wanted.encrypted)
        return {"pool": served.id, "name": served.name, "url": served.pool.repository.url}

    def keep_secret(self, work: Work) -> dict[str, Any]:
        """A pool that waited for its credentials is served from now on."""
        wanted = work.assignment.keep_secret
        self._pools.keep_secret(wanted.url, self._secret_of(wanted.pool, wanted.sealed_secret))
        self._pools_changed()
        return {}

    def _secret_of(self, pool: str, sealed: bytes) -> str:
        return self._unseal(sealed, f"pool:{pool}").decode()

    def read_points(self, work: Work) -> dict[str, Any]:
        served = self._pools.get(work.assignment.read_points.pool.id)
        points = list_points(served.pool)
        for sid, fault in points.damaged.items():
            work.warnings.append(f"{sid_text(sid)}: {fault}")
        count = self._points_read(self._pages(work, served, points))
        return {"points": count}

    def _pages(self, work: Work, served: OpenPool, points: Points) -> Iterator[agents_pb2.PointsPage]:
        assignment = work.assignment
        for at in range(0, max(len(points.commits), 1), _POINTS_A_PAGE):
            work.check()
            commits = points.commits[at : at + _POINTS_A_PAGE]
            yield agents_pb2.PointsPage(
                assignment=assignment.id,
                fence=assignment.fence,
                pool=served.id,
                points=[self._seen(work, served, commit) for commit in commits],
                last=at + _POINTS_A_PAGE >= len(points.commits),
            )

    def _seen(self, work: Work, served: OpenPool, commit: Commit) -> agents_pb2.PointSeen:
        key = served.id, commit.sid
        if key not in self._sizes:
            try:
                point = read_point(served.pool, commit)
                data_bytes = sum(disk.data_bytes for disk in point.disks)
                disk_bytes = sum(disk.size for disk in point.disks)
                self._sizes[key] = disk_bytes, data_bytes, int(point.statistics.get("stored_bytes", 0))
            except DamageFault as fault:
                work.warnings.append(f"{commit.id}: {fault}")
        disk_bytes, data_bytes, stored_bytes = self._sizes.get(key, (0, 0, 0))
        return agents_pb2.PointSeen(
            id=commit.id,
            machine_id=commit.machine.id,
            machine_name=commit.machine.name,
            time=commit.time,
            parent="" if commit.parent is None else sid_text(commit.parent),
            disk_bytes=disk_bytes,
            data_bytes=data_bytes,
            stored_bytes=stored_bytes,
            marks=self._marks(work, served, commit),
        )

    def _marks(self, work: Work, served: OpenPool, commit: Commit) -> list[str]:
        try:
            return [mark.kind.value for mark in read_marks(served.pool, commit.sid)]
        except DamageFault as fault:
            work.warnings.append(f"{commit.id}: a mark cannot be read, so it counts as held: {fault}")
            return [MarkKind.HOLD.value]

    def read_register(self, work: Work) -> dict[str, Any]:
        """What became of a session whose agent was lost while it committed. A tombstone is put where nothing is.

        The number is that agent's word: raises SessionForeign for a session of anybody but its job.
        """
        wanted = work.assignment.read_register
        served = self._pools.get(wanted.pool.id)
        if not 0 < wanted.sid < 1 << 40:
            raise RequestRefused(f"session {wanted.sid}: no such number")
        commit = settle(served.pool, wanted.sid, work.assignment.job, self._clock)
        if commit is None:
            return {"committed": False}
        point = read_point(served.pool, commit)
        parent = None if commit.parent is None else sid_text(commit.parent)
        made = {"committed": True, "recovery_point": commit.id, "parent": parent, "time": commit.time}
        return {**point.statistics, "data_bytes": sum(disk.data_bytes for disk in point.disks), **made}

    def expire(self, work: Work) -> dict[str, Any]:
        """Points that a mark holds stay, and that is a warning."""
        wanted = work.assignment.expire
        served = self._pools.get(wanted.pool.id)
        by_id = {commit.id: commit for commit in list_points(served.pool).commits}
        expired = []
        for point in wanted.points:
            work.check()
            commit = by_id.get(point)
            if commit is None:
                expired.append(point)  # it is gone already
                continue
            held = expire_point(served.pool, commit.sid, wanted.who or "CommServe", self._clock)
            if held is None:
                expired.append(point)
            else:
                work.warnings.append(f"{point}: not expired: {held}")
        return {"expired": expired}

    def verify(self, work: Work) -> dict[str, Any]:
        wanted = work.assignment.verify
        served = self._pools.get(wanted.pool.id)
        points = list_points(served.pool)
        containers = ContainerReader(served.pool)  # what is remembered of containers must not vouch for them
        if wanted.points:
            chosen = [points.find(point) for point in wanted.points]
            return self._verify_points(work, served, containers, chosen)
        return self._verify_all(work, served, containers, points)

    def _verify_points(
        self, work: Work, served: OpenPool, containers: ContainerReader, commits: list[Commit]
    ) -> dict[str, Any]:
        suspect, damaged = [], set[int]()
        for commit in commits:
            good = True
            try:
                point = read_point(served.pool, commit)
                work.begin(f"verify {commit.id}", sum(disk.size for disk in point.disks))
                outcomes = verify_point(served.pool, containers, point, worker_count(), work.advance)
                for disk, outcome in zip(point.disks, outcomes, strict=True):
                    if outcome.lost:
                        good = False
                        damaged |= containers_of_lost(served.pool, containers, disk, outcome.lost_extents)
                        work.warnings.append(f"{commit.id}, disk {disk.disk}: {outcome.lost[0].fault}")
            except DamageFault as fault:
                good = False
                work.warnings.append(f"{commit.id}: {fault}")
            self._mark(work, served, commit, good=good)
            if not good:
                suspect.append(commit.id)
        served.known.forget(damaged)
        return {"points": len(commits), "suspect": suspect}

    def _verify_all(self, work: Work, served: OpenPool, containers: ContainerReader, points: Points) -> dict[str, Any]:
        run = Verification(
            served.pool, containers, worker_count(), lambda total: work.begin("verify", total), work.advance
        )
        verdict = run.run(points)
        suspect = sorted({*verdict.unreadable_points, *verdict.lost})
        for damage in verdict.damaged.values():
            work.warnings.append(str(damage.faults[0]))
        for commit in points.commits:
            self._mark(work, served, commit, good=commit.sid not in suspect)
        served.known.forget(set(verdict.damaged))
        return {
            "points": len(points.commits),
            "suspect": [sid_text(sid) for sid in suspect],
            "containers": verdict.containers,
            "damaged_containers": len(verdict.damaged),
        }

    def _mark(self, work: Work, served: OpenPool, commit: Commit, *, good: bool) -> None:
        kind = MarkKind.VERIFIED if good else MarkKind.SUSPECT
        try:
            put_mark(served.pool, commit.sid, kind, f"MediaAgent on {os.uname().nodename}", "", self._clock)
        except RepositoryFault as fault:
            work.warnings.append(f"{commit.id}: the mark `{kind.value}` could not be put: {fault}")

    def rebuild(self, work: Work) -> dict[str, Any]:
        learned = self._pools.rebuild(work.assignment.rebuild.pool.id, self._sessions_in)
        work.warnings.extend(str(fault) for fault in learned.damaged.values())
        return {"containers": learned.containers, "chunks": learned.chunks}
