"""One write path: a recovery point does not show whether its writer had the pool open or asked a MediaAgent."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from media.extents import Extent
from media.page import fingerprint_of
from media.pool import Parameters
from media.recovery_point import DiskTree, RecoveryPoint
from tests.media.fakes import SparseDisk
from tests.media.workbench import OPEN, SEGMENT, SMALL, Workbench, noise, text
from tests.mediaagent.served import Served, back_up, restore, serving


@pytest.fixture(params=[SMALL, OPEN], ids=["sealed", "unsealed"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Workbench, Served]]:
    """Two pools with the same keys: one at hand, one behind a MediaAgent."""
    parameters: Parameters = request.param
    bench, twin = Workbench(parameters), Workbench(parameters)
    with serving(tmp_path, pool=twin.pool) as served:
        served.memory = twin.memory
        yield bench, served


def said(bench: Workbench, disk: DiskTree) -> list[tuple[int, bytes]]:
    """What every leaf says, and the page key's name for it; not where chunks lie."""
    key = bench.pool.keys.page
    return [(segment, fingerprint_of(key, leaf.covered())) for segment, leaf in bench.leaves(disk)]


def assert_equal(bench: Workbench, near: RecoveryPoint, served: Served, far: RecoveryPoint) -> None:
    there = Workbench(bench.pool.parameters)
    there.pool = served.pool
    for one, two in zip(near.disks, far.disks, strict=True):
        assert said(bench, one) == said(there, two)
        assert (one.size, one.key, one.data_bytes, one.change_id) == (two.size, two.key, two.data_bytes, two.change_id)
        near_root, far_root = one.root, two.root
        assert near_root.depth == far_root.depth
        assert (near_root.ref is None) == (far_root.ref is None)
        if near_root.ref is not None and far_root.ref is not None:
            assert near_root.ref.fingerprint == far_root.ref.fingerprint, "the tree says the same"
    for name in ("disk_bytes", "read_bytes", "hole_bytes", "new_bytes", "chunks", "new_chunks"):
        assert near.statistics[name] == far.statistics[name], name
    assert near.description == far.description
    assert there.point(far.sid) == far, "what was answered is what lies there"


def test_points_made_near_and_far_are_equal(both: tuple[Workbench, Served]) -> None:
    bench, served = both
    first = noise(1, SEGMENT * 3) + bytes(SEGMENT) + text(2, SEGMENT * 2 + 700)
    second = first[: SEGMENT + 5000] + noise(3, 9000) + first[SEGMENT + 14_000 :]
    changes = [Extent(SEGMENT + 5000, 9000)]
    wide = SparseDisk(257 * SEGMENT + 1, {0: text(3, 700), 256 * SEGMENT + 8192: noise(4, 600)})
    near = bench.backup(SparseDisk.of(first), wide)
    with served.line() as line:
        far = back_up(line, served.pool, SparseDisk.of(first), wide, workers=1)
        assert_equal(bench, near, served, far)
        for disks in (
            [(SparseDisk.of(second), changes), (wide, [])],
            [(SparseDisk.of(second), None), (wide, None)],
            [(SparseDisk.of(second[: SEGMENT * 2]), None), (SparseDisk(5), None)],
            [(SparseDisk.of(first), None), (wide, None)],
        ):
            near = bench.backup(*disks, parent=near)
            far = back_up(line, served.pool, *disks, workers=1)
            assert far.parent is not None
            assert_equal(bench, near, served, far)
        target, outcome = restore(line, served.pool, far.id)
    assert not outcome.lost
    assert target.data == first


def test_what_others_stored_is_found_and_not_stored_again(both: tuple[Workbench, Served]) -> None:
    from media.recovery_point import Machine

    _, served = both
    data = noise(1, SEGMENT * 4)
    with served.line() as line:
        back_up(line, served.pool, SparseDisk.of(data))
    other = Machine("vm-other", "other")
    with served.line(served.ticket(machine=other)) as line:
        point = back_up(line, served.pool, SparseDisk.of(data), machine=other)
    assert point.statistics["new_bytes"] == 0
    assert point.parent is None


@pytest.mark.parametrize("seed", range(6))
def test_random_machines_restore_to_what_they_were(both: tuple[Workbench, Served], seed: int) -> None:
    _, served = both
    rng = random.Random(seed)
    image = bytearray(b"".join(rng.choice((noise, text))(rng.randrange(9), SEGMENT) for _ in range(5)))
    with served.line() as line:
        for _ in range(3):
            point = back_up(line, served.pool, SparseDisk.of(image), workers=3)
            for reads_zero in (True, False):
                target, outcome = restore(line, served.pool, point.id, reads_zero=reads_zero)
                assert not outcome.lost
                assert target.data == image
                assert outcome.bytes_written + outcome.hole_bytes == len(image)
            at, length = rng.randrange(len(image)), rng.randrange(1, SEGMENT)
            image[at : at + length] = rng.choice((bytes(length), noise(rng.randrange(99), length)))
            image = image[: SEGMENT * 5]
