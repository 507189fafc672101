"""A disk brought back over what is there: what differs is written, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from media.extents import total
from media.reader import Outcome
from tests.media.fakes import MemoryTarget, SparseDisk
from tests.media.workbench import SEGMENT, noise
from tests.mediaagent.served import Served, back_up, serving
from vsa.restore.remote_disk import RemoteDiskRestore, open_point

WAS = noise(1, SEGMENT * 3) + bytes(SEGMENT * 6) + noise(2, SEGMENT + 1536)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path / "mediaagent") as served:
        yield served


def bring_back(served: Served, present: bytes) -> tuple[MemoryTarget, RemoteDiskRestore, Outcome]:
    """Of a machine whose disk was WAS, onto a disk that holds `present`."""
    with served.line() as line:
        point = open_point(line, str(served.pool.id), back_up(line, served.pool, SparseDisk.of(WAS)).id)
        target = MemoryTarget(len(present), reads_zero=False)
        target.data[:] = present
        disk = point.opened.disks[0]
        advanced: list[int] = []
        restore = RemoteDiskRestore(line, point, disk, target, 3, advanced.append, SparseDisk.of(present))
        outcome = restore.run()
    target.assert_nothing_twice()
    assert not outcome.lost
    assert sum(advanced) == len(WAS)
    return target, restore, outcome


def test_only_what_differs_is_written_and_all_is_as_it_was(served: Served) -> None:
    now = bytearray(WAS)
    for at in (
        SEGMENT + 100,
        SEGMENT * 5 + 7,
        SEGMENT * 8 - 3,
    ):  # in a chunk, in a hole, at the end of a hole's segment
        now[at : at + 18] = b"a guest wrote this"

    target, restore, outcome = bring_back(served, bytes(now))

    assert target.data == WAS
    assert 0 < outcome.bytes_written < SEGMENT * 4
    assert outcome.bytes_written == total(target.writes) + total(target.zeroed)
    assert restore.compared_bytes > 0


def test_a_disk_that_is_as_it_was_is_not_written_to(served: Served) -> None:
    target, _, outcome = bring_back(served, WAS)

    assert target.writes == target.zeroed == []
    assert outcome.kept_bytes + outcome.hole_bytes == len(WAS)


def test_a_disk_that_is_all_something_else_is_written_whole(served: Served) -> None:
    target, _, outcome = bring_back(served, b"\xee" * len(WAS))

    assert target.data == WAS
    assert outcome.kept_bytes == 0
