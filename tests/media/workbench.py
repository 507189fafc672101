"""A pool, backups into it and restores from it, in a line each."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from media.backup import Backup, Source
from media.container_reader import ContainerReader
from media.extents import Extent
from media.key_slots import NoSecret, Passphrase
from media.known_chunks import KnownChunks, MemoryKnownChunks
from media.local_log import LocalLog
from media.page import Leaf
from media.pool import Parameters, Pool, create_pool
from media.reader import DiskRestore, Outcome
from media.recovery_point import Commit, DiskTree, Machine, RecoveryPoint, read_commit, read_point
from media.repository import Repository
from media.repository.memory import MemoryRepository
from media.session import Process
from media.session_log import DiskName
from media.tree import TreeReader
from runtime.clock import Clock
from tests.media.fakes import FakeClock, MemoryTarget, SparseDisk

SEGMENT = 64 << 10
SECRET = Passphrase("a passphrase", {"name": "scrypt", "n": 2, "r": 1, "p": 1})
SMALL = Parameters(average_chunk_bytes=4096, container_bytes=64 << 10, segment_bytes=SEGMENT)
OPEN = replace(SMALL, encrypted=False)
MACHINE = Machine("vm-web", "web")


def noise(seed: int, length: int) -> bytes:
    """Bytes that do not compress, the same for the same seed."""
    return random.Random(seed).randbytes(length)


def text(seed: int, length: int) -> bytes:
    """Bytes that compress, the same for the same seed."""
    words = [bytes([97 + (seed * 7 + i * 11) % 26]) * (3 + i % 5) for i in range(40)]
    rng = random.Random(seed)
    return b" ".join(rng.choice(words) + b"%d" % rng.randrange(1000) for _ in range(length // 4 + 1))[:length]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, the operating system's randomness repeats itself. For one thread."""
    real, os.urandom = os.urandom, random.Random(seed).randbytes
    try:
        yield
    finally:
        os.urandom = real


def begin(
    pool: Pool,
    known: KnownChunks,
    containers: ContainerReader,
    clock: Clock,
    machine: Machine,
    sources: list[Source],
    parent: Commit | None,
    job: str = "",
) -> LocalLog:
    """A session for these disks, with the pool at hand."""
    names = [DiskName(source.key, source.disk.size) for source in sources]
    return LocalLog.begin(pool, known, containers, clock, Process("host", 1, job), machine, names, parent)


class Workbench:
    """One pool in memory, with what one process keeps: an index, footers, a clock that stands still."""

    def __init__(self, parameters: Parameters = SMALL, repository: Repository | None = None, seed: int = 1) -> None:
        self.memory = MemoryRepository()
        self.clock = FakeClock()
        secret = SECRET if parameters.encrypted else NoSecret()
        with seeded(seed):  # the keys decide where chunks are cut
            self.pool = create_pool(repository or self.memory, secret, parameters, self.clock)
        self.restart()

    def restart(self) -> None:
        """Another process: nothing is remembered."""
        self.known: KnownChunks = MemoryKnownChunks()
        self.containers = ContainerReader(self.pool)

    def behind(self, repository: Repository) -> None:
        """From now on the pool is reached through `repository`."""
        self.pool = replace(self.pool, repository=repository)
        self.containers = ContainerReader(self.pool)

    def backup(
        self,
        *disks: SparseDisk | tuple[SparseDisk, list[Extent] | None],
        parent: RecoveryPoint | None = None,
        keys: list[str] | None = None,
        workers: int = 1,
        machine: Machine = MACHINE,
    ) -> RecoveryPoint:
        """The new point. A disk may come with what changed of it since the parent."""
        sources = []
        for number, disk in enumerate(disks):
            one, changes = disk if isinstance(disk, tuple) else (disk, None)
            sources.append(Source(keys[number] if keys else f"scsi0:{number}", one, changes))
        commit = None if parent is None else self.commit_of(parent.sid)
        log = begin(self.pool, self.known, self.containers, self.clock, machine, sources, commit)
        return Backup(log, sources, self.clock, 1, workers, lambda _: None).run({"cores": 2}).point

    def log(self) -> LocalLog:
        """A session for no disk."""
        return begin(self.pool, self.known, self.containers, self.clock, MACHINE, [], None)

    def commit_of(self, sid: int) -> Commit:
        commit = read_commit(self.pool, sid)
        assert commit is not None
        return commit

    def point(self, sid: int) -> RecoveryPoint:
        """As it lies in the repository."""
        return read_point(self.pool, self.commit_of(sid))

    def restore(self, disk: DiskTree, *, reads_zero: bool = True, **options: Any) -> tuple[MemoryTarget, Outcome]:
        """With nothing remembered, but for what the caller passes."""
        target = MemoryTarget(disk.size, reads_zero=reads_zero)
        options = {"workers": 2, "advance": lambda _: None, "containers": ContainerReader(self.pool), **options}
        containers = options.pop("containers")
        outcome = DiskRestore(self.pool, containers, disk, target, **options).run()
        target.assert_nothing_twice()
        return target, outcome

    def assert_restores(self, disk: DiskTree, expected: bytes | bytearray) -> None:
        target, outcome = self.restore(disk)
        assert not outcome.lost
        assert target.data == expected

    def leaves(self, disk: DiskTree) -> Iterator[tuple[int, Leaf]]:
        """Every segment that has chunks, and its leaf."""
        tree = TreeReader(ContainerReader(self.pool), self.pool.keys.page)
        for segment, ref in tree.leaves(disk.root):
            yield segment, tree.leaf(ref, segment)

    def chunks(self, disk: DiskTree) -> list[tuple[int, int, bytes]]:
        """Offset, length and fingerprint of every chunk, in order."""
        base = self.pool.parameters.segment_bytes
        return [
            (segment * base + offset, length, bytes(fingerprint))
            for segment, leaf in self.leaves(disk)
            for offset, length, fingerprint in zip(
                leaf.offsets.tolist(), leaf.lengths.tolist(), leaf.fingerprints, strict=True
            )
        ]

    def containers_of(self, sid: int) -> list[str]:
        """Names of the containers that a session stored."""
        return [entry.name for entry in self.pool.repository.list(f"c/{sid:010x}/")]

    def overwrite(self, name: str, body: bytes) -> None:
        """What damage does."""
        self.memory.delete(name)
        self.memory.put_new(name, body)


def zeros(data: bytes | bytearray, extents: list[Extent]) -> bytes:
    """`data` with these extents zero."""
    out = np.frombuffer(data, np.uint8).copy()
    for extent in extents:
        out[extent.offset : extent.end] = 0
    return out.tobytes()
