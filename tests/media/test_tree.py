"""A disk's tree of pages: as deep as its size asks, inherited where nothing changed, the same however it came about."""

from __future__ import annotations

import random

import pytest

from media.extents import Extent
from media.page import FANOUT, PageRef
from media.recovery_point import DiskTree
from media.tree import Root, TreeReader, depth_of
from tests.media.fakes import SparseDisk, SparseTarget
from tests.media.workbench import SEGMENT, Workbench, noise

DEPTHS = [1, 255, 256, 257, 300, 65536, 65537, 65536 + 300]


def sparse(segments: int, extra: int = 0, salt: int = 0) -> SparseDisk:
    """So many segments, of which a handful hold a little."""
    held = {0, 1, 255, 256, 257, 511, 65535, 65536, segments // 2, segments - 1}
    pieces = {n * SEGMENT + 4096 * (n % 9): noise(n + salt, 600) for n in sorted(held) if 0 <= n < segments}
    return SparseDisk(segments * SEGMENT + extra, pieces)


def pages(bench: Workbench, disk: DiskTree) -> dict[tuple[int, int], tuple[PageRef, frozenset[int]]]:
    """(level, index) -> where the interior page is, and its children's numbers."""
    reader = TreeReader(bench.containers, bench.pool.keys.page)
    found = {}

    def walk(ref: PageRef, level: int, index: int) -> None:
        children = reader.interior(ref, level, index)
        found[level, index] = (ref, frozenset(children))
        if level > 1:
            for number, child in children.items():
                walk(child, level - 1, index * FANOUT + number)

    if disk.root.ref is not None:
        walk(disk.root.ref, disk.root.depth, 0)
    return found


def assert_holds(bench: Workbench, disk: DiskTree, expected: SparseDisk) -> None:
    """Equal to what a fresh full backup makes, page by page, and it restores."""
    fresh = bench.backup(expected).disks[0]
    assert disk.root.depth == fresh.root.depth == depth_of(-(-expected.size // SEGMENT))
    shape = {at: (ref.fingerprint, children) for at, (ref, children) in pages(bench, disk).items()}
    assert shape == {at: (ref.fingerprint, children) for at, (ref, children) in pages(bench, fresh).items()}
    assert disk.root.ref is not None
    assert restored(bench, disk) == {
        (offset, bytes(piece).rstrip(b"\0")) for offset, piece in expected.pieces.items() if offset < expected.size
    }


def restored(bench: Workbench, disk: DiskTree) -> set[tuple[int, bytes]]:
    from media.reader import DiskRestore

    target = SparseTarget()
    outcome = DiskRestore(bench.pool, bench.containers, disk, target, 2, lambda _: None).run()
    assert not outcome.lost
    assert outcome.bytes_written + outcome.hole_bytes == disk.size
    return {(offset, piece.rstrip(b"\0")) for offset, piece in target.pieces.items()}


@pytest.mark.parametrize(
    ("segments", "depth"), [(0, 1), (1, 1), (256, 1), (257, 2), (65536, 2), (65537, 3), (1 << 24, 3)]
)
def test_the_depth_is_the_smallest_that_reaches_every_segment(segments: int, depth: int) -> None:
    assert depth_of(segments) == depth


@pytest.mark.parametrize("segments", DEPTHS)
def test_a_tree_of_any_depth_comes_back(segments: int) -> None:
    bench, disk = Workbench(), sparse(segments)
    assert_holds(bench, bench.backup(disk).disks[0], disk)


@pytest.mark.parametrize("tracked", [True, False])
@pytest.mark.parametrize(
    ("before", "after"),
    [(1, 257), (257, 1), (256, 257), (257, 256), (300, 280), (3, 65537), (65537, 3), (65836, 65537), (65837, 300)],
)
def test_a_tree_grows_and_shrinks_with_its_disk(before: int, after: int, tracked: bool) -> None:
    bench, old, new = Workbench(), sparse(before), sparse(after)
    parent = bench.backup(old)
    # Only segments that differ have changes; growth by so much is all holes, which are looked at one by one.
    changed = [Extent(at, 600) for at in sorted({*old.pieces, *new.pieces}) if at < new.size]
    point = bench.backup((new, changed if tracked else None), parent=parent)
    assert_holds(bench, point.disks[0], new)


def test_a_disk_that_grows_by_two_levels_without_a_change_keeps_its_data() -> None:
    bench, old = Workbench(), sparse(2)
    parent = bench.backup(old)
    grown = SparseDisk(SEGMENT * 65537, old.pieces)
    assert_holds(bench, bench.backup(grown, parent=parent).disks[0], grown)


def test_a_disk_that_became_all_holes_has_no_tree() -> None:
    bench = Workbench()
    parent = bench.backup(sparse(300))
    empty = SparseDisk(300 * SEGMENT)
    for changes in (None, [Extent(0, 300 * SEGMENT)]):
        point = bench.backup((empty, changes), parent=parent)
        assert point.disks[0].root == Root(2, None)
        assert point.disks[0].data_bytes == 0
        refilled = sparse(300, salt=7)
        again = bench.backup((refilled, [Extent(0, 300 * SEGMENT)]), parent=point)
        assert_holds(bench, again.disks[0], refilled)


def test_one_changed_leaf_writes_the_path_to_the_root_and_nothing_else() -> None:
    bench, disk = Workbench(), sparse(65537)
    parent = bench.backup(disk)
    at = SEGMENT * 257 + 4096 * (257 % 9)
    assert at in disk.pieces
    disk.pieces[at] = noise(99, 600)
    point = bench.backup((disk, [Extent(at, 600)]), parent=parent)
    old, new = pages(bench, parent.disks[0]), pages(bench, point.disks[0])
    assert {at for at in new if new[at] != old[at]} == {(3, 0), (2, 0), (1, 1)}
    assert_holds(bench, point.disks[0], disk)


def test_no_change_inherits_the_root_itself() -> None:
    bench, disk = Workbench(), sparse(300)
    parent = bench.backup(disk)
    for changes in ([], None):
        point = bench.backup((disk, changes), parent=parent)
        assert point.disks[0].root == parent.disks[0].root
        assert bench.containers_of(point.sid) == []


@pytest.mark.parametrize("seed", range(6))
def test_random_leaves_change_at_random_and_the_tree_is_that_of_a_full_backup(seed: int) -> None:
    rng, bench = random.Random(seed), Workbench()
    disk = sparse(rng.randint(200, 900), extra=rng.choice((0, 1, 5000)))
    point = bench.backup(disk)
    for _ in range(4):
        segments = rng.randint(1, 900)
        size = segments * SEGMENT + rng.choice((0, 1, 5000))
        pieces = {at: piece for at, piece in disk.pieces.items() if at + len(piece) <= size and rng.random() < 0.8}
        for n in rng.sample(range(segments), min(segments, 5)):
            pieces.setdefault(n * SEGMENT + 4096 * (n % 9), noise(n, 600))
        changed = {at for at in {*pieces, *disk.pieces} if pieces.get(at) != disk.pieces.get(at) and at < size}
        disk = SparseDisk(size, pieces)
        point = bench.backup((disk, [Extent(at, 600) for at in sorted(changed)]), parent=point, workers=2)
        assert_holds(bench, point.disks[0], disk)
