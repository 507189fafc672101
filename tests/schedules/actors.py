"""What processes do: the real code, in the order in which the product calls it."""

from __future__ import annotations

import random

from media.backup import Backup, Source
from media.container_reader import ContainerReader, containers_of
from media.extents import Extent
from media.faults import ParentDamaged, RepositoryFault, RepositoryUnreachable, SessionUnknown
from media.ids import (
    CONDEMNATIONS,
    CONTAINERS,
    SESSIONS,
    cid_of_name,
    container_name,
    detail_name,
    register_name,
    sid_of_name,
    sid_text,
)
from media.known_chunks import KnownChunks
from media.local_log import LocalLog
from media.marks import MarkKind, put_mark, read_marks
from media.page import FANOUT
from media.pool import Pool
from media.rebuild import catch_up
from media.record import Type
from media.recovery_point import Commit, Machine, list_points, read_commit, read_point
from media.session import Process as Who
from media.session import Session
from media.session_log import DiskName
from media.tree import Root, TreeReader
from runtime.faults import Fault
from tests.faults.scenario import restore_disk
from tests.media.fakes import SparseDisk
from tests.schedules.oracle import Attempt
from tests.schedules.world import SEGMENT, Process

BLOCK = 4096
MACHINES = 3
_POOL_OF_BLOCKS = [random.Random(n).randbytes(BLOCK) for n in range(24)]  # so few that machines share most


class Disks:
    """The disks of all machines: they change between two backups."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._most_segments = rng.choice((1, 4))
        self._now = {f"vm-{n}": [self._disk()] for n in range(MACHINES)}
        self._now["vm-0"].append(self._disk())

    def _disk(self) -> bytes:
        return self._content(self._rng.randint(1, self._most_segments) * SEGMENT // BLOCK) + bytes(
            self._rng.choice((0, 512, 5000))
        )

    def _content(self, blocks: int) -> bytes:
        return b"".join(self._block() for _ in range(blocks))

    def _block(self) -> bytes:
        kind = self._rng.random()
        if kind < 0.1:
            return bytes(BLOCK)
        return self._rng.randbytes(BLOCK) if kind < 0.3 else self._rng.choice(_POOL_OF_BLOCKS)

    def today(self) -> tuple[str, list[bytes]]:
        """A machine, and what its disks hold now."""
        machine = self._rng.choice(sorted(self._now))
        for number, disk in enumerate(self._now[machine]):
            blocks = len(disk) // BLOCK
            first = self._rng.randrange(blocks)
            count = self._rng.randint(0, min(4, blocks - first))
            self._now[machine][number] = disk[: first * BLOCK] + self._content(count) + disk[(first + count) * BLOCK :]
        kind = self._rng.random()
        if kind < 0.1:
            self._now[machine][-1] = self._disk()
        elif kind < 0.4:
            self._now[machine] = list(self._now[self._rng.choice(sorted(self._now))])  # a clone
        return machine, list(self._now[machine])


def changes_between(old: bytes, new: bytes) -> list[Extent]:
    """What changed, in blocks, as change tracking tells it."""
    return [
        Extent(at, min(BLOCK, len(new) - at))
        for at in range(0, len(new), BLOCK)
        if old[at : at + BLOCK] != new[at : at + BLOCK]
    ]


def back_up(process: Process, disks: Disks) -> None:
    """A job: a backup that is begun again, by another process, until it is done or given up."""
    machine, contents = disks.today()
    known = process.world.rng.choice(process.world.indexes)

    def begin(one: Process) -> None:
        attempts = [one.world.oracle.attempt(machine, contents)]
        try:
            _back_up(one, known, attempts)
        except SessionUnknown:
            pass  # it may be there or not
        except Fault as fault:
            attempts[-1].told = fault.code
        finally:
            done = isinstance(attempts[-1].told, int)
            if not done and one.world.rng.random() < 0.6:
                one.world.start("resumed", begin)

    begin(process)


def _back_up(process: Process, known: KnownChunks, attempts: list[Attempt]) -> None:
    world, pool = process.world, process.pool
    containers = ContainerReader(pool)
    if world.rng.random() < 0.7:  # else the index is stale
        catch_up(pool, containers, known, lambda _: None, lambda _: None)
    attempt = attempts[-1]
    parent = _parent(process, attempt.machine)

    def run(parent: Commit | None, number: int) -> int:
        sources = [
            Source(f"{n}", SparseDisk.of(disk), _changes(process, parent, n, disk))
            for n, disk in enumerate(attempt.disks)
        ]
        names = [DiskName(source.key, source.disk.size) for source in sources]
        whose = Machine(attempt.machine, attempt.machine)
        log = LocalLog.begin(pool, known, containers, world.clock, Who("host", 1), whose, names, parent)
        workers = world.rng.choice((1, 1, 2))
        return Backup(log, sources, world.clock, 1, workers, lambda _: None).run({"attempt": number}).point.sid

    try:
        attempt.told = run(parent, attempt.number)
    except ParentDamaged as fault:
        attempt.told = fault.code
        again = world.oracle.attempt(attempt.machine, attempt.disks)
        attempts.append(again)
        again.told = run(None, again.number)


def _parent(process: Process, machine: str) -> Commit | None:
    """As the product chooses it; sometimes an older one."""
    points = list_points(process.pool)
    commits = [commit for commit in points.commits if commit.machine.id == machine]
    if not commits:
        return None
    chosen = process.world.rng.choice(commits) if process.world.rng.random() < 0.2 else commits[-1]
    read_marks(process.pool, chosen.sid)
    return chosen


def _changes(process: Process, parent: Commit | None, number: int, disk: bytes) -> list[Extent] | None:
    if parent is None or process.world.rng.random() < 0.5:
        return None
    before = process.world.oracle.of(parent.sid).disks
    return changes_between(before[number], disk) if number < len(before) else None


def restore(process: Process) -> None:
    """Bring back a point while others write."""
    try:
        points = list_points(process.pool)
        if not points.commits:
            return
        commit = process.world.rng.choice(points.commits)
        expected = process.world.oracle.of(commit.sid).disks
        containers = ContainerReader(process.pool)
        for disk, body in zip(read_point(process.pool, commit).disks, expected, strict=True):
            data, outcome = restore_disk(process.pool, disk, containers)
            assert not outcome.lost, [str(lost.fault) for lost in outcome.lost]
            assert data == body
    except RepositoryFault:
        return


def mark(process: Process) -> None:
    """Say something of a point, as a verification does."""
    try:
        points = list_points(process.pool)
        if not points.commits:
            return
        sid = process.world.rng.choice(points.commits).sid
        put_mark(process.pool, sid, MarkKind.VERIFIED, "a test", process.name, process.world.clock)
        process.world.oracle.marks.setdefault(sid, []).append(process.name)
    except RepositoryFault:
        return


def bury(process: Process) -> None:
    """End sessions that look dead, rightly or not, and delete what they alone could refer to: details and pages.

    That is as far as deletion goes without a collector. It rests on W7 (an ended session never commits), W8 (pages are
    never found through an index) and W1 (what has this name stays what it is).
    """
    pool = process.pool
    try:
        for entry in pool.repository.list(SESSIONS):
            sid = sid_of_name(entry.name, SESSIONS)
            if sid is None or process.world.rng.random() < 0.3:
                continue
            Session(pool, sid, process.name, pool.keys.new_data_key(), process.world.clock).abort("it looks dead")
            if next(pool.repository.list(register_name(sid)), None) is None or read_commit(pool, sid) is not None:
                continue
            for name in [detail_name(sid), *_pages_of(process, sid)]:
                _delete(pool, name)
    except RepositoryFault:
        return


def _delete(pool: Pool, name: str) -> None:
    """Once more when there was no answer, as anybody does who talks to a store over a network."""
    try:
        pool.repository.delete(name)
    except RepositoryUnreachable:
        pool.repository.delete(name)


def _pages_of(process: Process, sid: int) -> list[str]:
    """The containers of a session that hold pages."""
    containers = ContainerReader(process.pool)
    found = []
    for entry in process.pool.repository.list(f"{CONTAINERS}{sid_text(sid)}/"):
        cid = cid_of_name(entry.name)
        assert cid is not None
        try:
            footer = containers.footer(cid)
        except Fault:
            continue  # another one was here
        if (footer["type"] == Type.PAGE).all():
            found.append(entry.name)
    return found


def collect(process: Process) -> None:
    """Delete all that no point refers to, once and for all: the smallest collector that the protocol allows.

    Its condemnation stays, so whoever begins later does not write any more (W2). Whoever began before is found by its
    claim (W1), and is ended unless it has committed (W7). What a point refers to then is all that is kept.
    """
    pool = process.pool
    try:
        pool.repository.put_new(f"{CONDEMNATIONS}{process.name}", b"everything that no point refers to")
        for entry in pool.repository.list(SESSIONS):
            sid = sid_of_name(entry.name, SESSIONS)
            assert sid is not None
            Session(pool, sid, process.name, pool.keys.new_data_key(), process.world.clock).abort("collected")
            if next(pool.repository.list(register_name(sid)), None) is None:
                return  # its end is not known
        kept = set()
        for commit in list_points(pool).commits:
            kept |= _containers_of(pool, commit)
        for cid in sorted(containers_of(pool.repository) - kept):
            _delete(pool, container_name(cid))
    except RepositoryFault:
        return


def _containers_of(pool: Pool, commit: Commit) -> set[int]:
    """All that a point refers to."""
    tree = TreeReader(ContainerReader(pool), pool.keys.page)
    found = set()
    for disk in read_point(pool, commit).disks:
        found |= _containers_below(tree, disk.root)
    return found


def _containers_below(tree: TreeReader, root: Root) -> set[int]:
    found = set()
    waiting = [] if root.ref is None else [(root.ref, root.depth, 0)]
    while waiting:
        ref, level, index = waiting.pop()
        found.add(ref.cid)
        if level == 0:
            found.update(tree.leaf(ref, index).places.cids.tolist())
        else:
            below = tree.interior(ref, level, index)
            waiting += [(child, level - 1, index * FANOUT + number) for number, child in below.items()]
    return found
