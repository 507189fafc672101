"""What is called unchanged is read and compared: each cell in its turn, and none is wrong that is right."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext.fingerprint import Fingerprinter
from media.backup import Backup, Report, Source
from media.extents import Extent
from media.marks import TRACKING, MarkKind, read_marks
from media.parents import choose_parent
from media.proof import LEAST_CELLS, Proof, Walk, found_with, proof_of, turn, whole
from media.proving import DiskProving
from media.recovery_point import RecoveryPoint
from tests.media.fakes import SparseDisk
from tests.media.random_disks import change, random_image
from tests.media.workbench import MACHINE, SEGMENT, Workbench, begin, noise

CELL = SEGMENT // 16
KEY = b"k" * 32


def time_of(days: float) -> str:
    moment = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(days=days)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def run(
    bench: Workbench,
    image: bytearray,
    changes: list[Extent] | None,
    parent: RecoveryPoint | None,
    days: int = 30,
    distrusted: list[Any] | None = None,
) -> Report:
    source = Source("key", SparseDisk.of(image), changes, "id", days)
    commit = None if parent is None else bench.commit_of(parent.sid)
    log = begin(bench.pool, bench.known, bench.containers, bench.clock, MACHINE, [source], commit)
    heard = distrusted if distrusted is not None else []
    backup = Backup(log, [source], bench.clock, 1, 2, lambda _: None, distrusted=lambda *said: heard.append(said))
    return backup.run({})


@given(st.integers(0, 500), st.integers(1, 40), st.lists(st.floats(0, 3), max_size=50))
def test_every_cell_has_its_turn_within_the_days_however_runs_fall(cells: int, days: int, pauses: list[float]) -> None:
    walk, now, seen = Walk(KEY, "disk", cells), 0.0, set[int]()
    proof: Proof | None = whole(None, time_of(0))
    for pause in [*pauses, *[1.0] * (days + 1)]:
        now += pause
        mine = turn(walk, proof, days, time_of(now), [], CELL)
        seen |= set(mine.cells.tolist())
        proof = mine.proof
    assert seen == set(range(cells))


def test_turns_follow_one_another_without_a_gap_and_without_a_cell_twice() -> None:
    walk, proof = Walk(KEY, "disk", 1000), whole(None, time_of(0))
    order: list[int] = []
    for _ in range(1000 // LEAST_CELLS):
        mine = turn(walk, proof, 30, time_of(0), [], CELL)
        order += mine.cells.tolist()
        proof = mine.proof
    assert len(order) == len(set(order)) > 990
    assert proof.walked == pytest.approx(1)
    assert sorted(order) != order, "no guest knows when its turn is"
    assert Walk(b"K" * 32, "disk", 1000).between(0, 1 << 60).tolist() != walk.between(0, 1 << 60).tolist()


def test_a_walk_is_a_permutation() -> None:
    places = Walk(KEY, "disk", 1 << 16).places(np.arange(1 << 16))
    assert len(np.unique(places)) == 1 << 16


def test_a_budget_follows_the_time_since_the_last_proof() -> None:
    walk = Walk(KEY, "disk", 100_000)
    before = whole(None, time_of(0))
    counts = [len(turn(walk, before, 20, time_of(days), [], CELL).cells) for days in (0, 1, 2, 4, 40)]
    assert counts[0] <= 3 * LEAST_CELLS
    for found, expected in zip(counts[1:], (5000, 10_000, 20_000, 100_000), strict=True):
        assert found == pytest.approx(expected, rel=0.1)
    assert turn(walk, before, 20, time_of(40), [], CELL).proof.whole
    assert len(turn(walk, whole(None, time_of(9)), 20, time_of(2), [], CELL).cells) <= 3 * LEAST_CELLS, (
        "a clock went back"
    )


def test_cells_beside_a_change_come_first() -> None:
    walk = Walk(KEY, "disk", 100_000)
    mine = turn(walk, whole(None, time_of(0)), 30, time_of(0), [Extent(500 * CELL, 2 * CELL)], CELL)
    assert len({499, 500, 501, 502} & set(mine.cells.tolist())) == LEAST_CELLS // 4


@given(st.integers(0, 10**9))
def test_what_changed_as_it_was_said_to_is_never_found_wrong(seed: int) -> None:
    rng = random.Random(seed)
    bench = Workbench()
    image = random_image(rng, rng.choice((1, 4096, 5000, SEGMENT, SEGMENT * 3 + 777)))
    parent = run(bench, image, None, None).point
    changes = change(rng, image, rng.randint(0, 4))
    assert findings(bench, image, changes, parent) == []


@given(st.integers(0, 10**9))
def test_a_change_that_nobody_told_of_is_found_in_its_cell(seed: int) -> None:
    rng = random.Random(seed)
    bench = Workbench()
    image = random_image(rng, rng.choice((4096, 5000, SEGMENT, SEGMENT * 3 + 777)))
    parent = run(bench, image, None, None).point
    changes = change(rng, image, rng.randint(0, 3))
    at = rng.randrange(len(image))
    image[at] ^= 1 + rng.randrange(255)
    wrong = findings(bench, image, changes, parent)
    if wrong:
        assert len(wrong) == 1
        assert wrong[0] * CELL - 8192 < at < (wrong[0] + 1) * CELL + 8192
    else:  # a chunk that a change touches is cut anew, so it is read
        point = run(bench, image, changes, parent, days=0).point
        bench.assert_restores(point.disks[0], image)


def findings(bench: Workbench, image: bytearray, changes: list[Extent], parent: RecoveryPoint) -> list[int]:
    disk = SparseDisk.of(image)
    source = Source("key", disk, changes)
    log = begin(bench.pool, bench.known, bench.containers, bench.clock, MACHINE, [source], bench.commit_of(parent.sid))
    proving = DiskProving(0, disk, changes, Fingerprinter(bench.pool.keys.fingerprint), log)
    memories = [np.empty(min(SEGMENT, disk.size), np.uint8) for _ in range(2)]
    return proving.prove(np.arange(proving.cell_count), memories).wrong


def test_a_missed_change_is_found_in_its_turn_the_disk_is_read_whole_and_points_since_are_suspect() -> None:
    bench = Workbench()
    image = bytearray(noise(1, SEGMENT * 5))
    points = [run(bench, image, None, None).point]
    points.append(run(bench, image, [], points[-1]).point)
    image[SEGMENT * 3 + 5] ^= 1  # nobody tells
    distrusted: list[Any] = []
    for _ in range(80 // LEAST_CELLS + 2):
        report = run(bench, image, [], points[-1], distrusted=distrusted)
        points.append(report.point)
        if distrusted:
            break
    [(key, suspects)] = distrusted
    assert key == "key"
    assert report.proofs["key"]["wrong_cells"] == 1
    assert report.proofs["key"]["suspect_points"] == suspects
    assert suspects == [point.id for point in reversed(points[1:-1])], "all but the one that read all of the disk"
    for point in points:
        right = bench.restore(point.disks[0])[0].data == bytes(image)
        assert right == (point is points[-1]), "every wrong one is suspect, and the first two are older than the change"
        if point.id in suspects:
            assert [mark.kind for mark in read_marks(bench.pool, point.sid)] == [MarkKind.SUSPECT]
    assert points[-1].disks[0].change_id is None, "the next run counts from nothing"
    assert choose_parent(bench.pool, MACHINE.id, "auto")[0] == bench.commit_of(points[-1].sid)
    last = proof_of(bench.point(points[-1].sid).disks[0].proof)
    assert last is not None
    assert last.whole


def test_points_that_were_proven_since_stay_trusted() -> None:
    """The walk went all round twice; what goes wrong afterwards is younger than the last time its cell was read."""
    bench = Workbench()
    image = bytearray(noise(1, SEGMENT * 4))
    points = [run(bench, image, None, None).point]
    for _ in range(20):
        points.append(run(bench, image, [], points[-1]).point)
    image[SEGMENT + 77] ^= 1
    distrusted: list[Any] = []
    while not distrusted:
        points.append(run(bench, image, [], points[-1], distrusted=distrusted).point)
    [(_, suspects)] = distrusted
    wrong = points[21:-1]
    assert {point.id for point in wrong} <= set(suspects)
    assert len(suspects) <= len(wrong) + SEGMENT * 4 // CELL // LEAST_CELLS + 1
    assert set(suspects).isdisjoint(point.id for point in points[:10])


def test_a_verification_does_not_clear_what_tracking_put() -> None:
    bench = Workbench()
    image = bytearray(noise(1, SEGMENT))
    first = run(bench, image, None, None).point
    second = run(bench, image, [], first).point
    from media.marks import put_mark

    put_mark(bench.pool, second.sid, MarkKind.SUSPECT, TRACKING, "", bench.clock)
    put_mark(bench.pool, second.sid, MarkKind.VERIFIED, "a verification", "", bench.clock)
    assert choose_parent(bench.pool, MACHINE.id, "auto")[0] is None


def test_how_likely_a_wrong_share_is_met_is_told() -> None:
    assert found_with(1000, 0.001) == pytest.approx(0.632, abs=0.001)
    assert found_with(7000, 0.001) == pytest.approx(0.999, abs=0.001)


@pytest.mark.parametrize(
    "said",
    [None, {}, [], {"first": "0"}, {**whole(None, "t").json(), "first": "x"}, {**whole(None, "t").json(), "walked": 2}],
)
def test_a_proof_that_cannot_be_read_is_none(said: Any) -> None:
    assert proof_of(said) is None


def test_a_proof_comes_back_as_it_was_kept() -> None:
    proof = Proof(False, 3, (1 << 64) - 1, 0.25, time_of(1))
    assert proof_of(proof.json()) == proof
