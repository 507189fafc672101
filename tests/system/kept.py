"""What a repository keeps, read without any service: every point of it, whoever made it and however his job ended."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from media.container_reader import ContainerReader
from media.ids import sid_text
from media.pool import Pool
from media.reader import DiskRestore
from media.recovery_point import list_points, read_commit, read_point
from mediaagent.pool_store import PoolStore
from runtime.clock import SystemClock
from tests.media.fakes import MemoryTarget


@dataclass(frozen=True)
class KeptDisk:
    """A disk as it restores: `digest` is the SHA-256 of all of it."""

    key: str
    change_id: str | None
    digest: str


def pool_of(state: Path) -> Pool:
    """The one pool of `ingot up`, by the key that its MediaAgent keeps."""
    [kept] = PoolStore(state / "mediaagent", SystemClock()).kept()
    return kept.open()


def disks_of(pool: Pool, point: str) -> list[KeptDisk]:
    """Restored whole; nothing may be lost."""
    commit = read_commit(pool, int(point, 16))
    assert commit is not None, point
    found = []
    for disk in read_point(pool, commit).disks:
        target = MemoryTarget(disk.size, reads_zero=True)
        outcome = DiskRestore(pool, ContainerReader(pool), disk, target, workers=2, advance=lambda _: None).run()
        assert not outcome.lost, (point, disk.key)
        found.append(KeptDisk(disk.key, disk.change_id, hashlib.sha256(target.data).hexdigest()))
    return found


def points_of(pool: Pool) -> Iterator[tuple[str, str]]:
    """Every committed point: its id and its machine's."""
    listed = list_points(pool)
    assert not listed.damaged
    for commit in listed.commits:
        yield sid_text(commit.sid), read_point(pool, commit).machine.id
