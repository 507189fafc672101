"""An incremental backup makes the recovery point that a full one would have made, and reads only what it must."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.extents import Extent
from media.recovery_point import RecoveryPoint
from tests.media.fakes import SparseDisk
from tests.media.random_disks import change, random_image, resize, to_end_of
from tests.media.test_tree import sparse
from tests.media.workbench import SEGMENT, Workbench, noise


def assert_same_as_a_full_backup(bench: Workbench, point: RecoveryPoint, images: list[bytearray]) -> None:
    """Equal chunks, equal counts, and every byte comes back."""
    full = Workbench.__new__(Workbench)
    full.__dict__.update(bench.__dict__)
    full.restart()
    fresh = full.backup(*map(SparseDisk.of, images))
    for one, two, image in zip(point.disks, fresh.disks, images, strict=True):
        assert bench.chunks(one) == bench.chunks(two)
        assert (one.size, one.data_bytes, one.root.depth) == (two.size, two.data_bytes, two.root.depth)
        assert (one.root.ref is None) == (two.root.ref is None)
        assert sum(length for _, length, _ in bench.chunks(one)) == one.data_bytes
        bench.assert_restores(one, image)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(0, 10**9), st.booleans())
def test_a_chain_of_incrementals_equals_a_full_backup(seed: int, tracked: bool) -> None:
    rng = random.Random(seed)
    bench = Workbench()
    image = random_image(rng, rng.choice((1, 512, 5000, SEGMENT, SEGMENT * 3 + 777)))
    point = bench.backup(SparseDisk.of(image))
    for _ in range(4):
        extents = change(rng, image, rng.randint(0, 4))
        if rng.random() < 0.5:
            resize(rng, image, SEGMENT)
        changes = to_end_of(extents, len(image)) if tracked else None
        point = bench.backup((SparseDisk.of(image), changes), parent=point, workers=rng.choice((1, 3)))
    assert_same_as_a_full_backup(bench, point, [image])


@pytest.mark.parametrize("tracked", [True, False])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (SEGMENT * 3, SEGMENT * 3 - 1),
        (SEGMENT * 3, SEGMENT * 2),
        (SEGMENT * 3 + 1, SEGMENT * 3),
        (SEGMENT * 3 - 4096, 4096),
        (SEGMENT + 10, 1),
        (1, SEGMENT + 1),
        (4096, 8192),
        (SEGMENT, SEGMENT * 2),
        (SEGMENT - 1, SEGMENT),
        (SEGMENT * 2 + 100, SEGMENT * 2 + 3000),
    ],
)
@pytest.mark.parametrize("grows_with", [b"\0", b"\7"])
def test_a_disk_that_was_resized_is_cut_as_if_it_always_had_that_size(
    before: int, after: int, grows_with: bytes, tracked: bool
) -> None:
    bench = Workbench()
    image = random_image(random.Random(before * after), before)
    parent = bench.backup(SparseDisk.of(image))
    image = (image + grows_with * max(0, after - before))[:after]
    changes: list[Extent] | None = [] if tracked else None  # a change of size is not in the changes
    point = bench.backup((SparseDisk.of(image), changes), parent=parent)
    assert_same_as_a_full_backup(bench, point, [image])


def test_disks_come_and_go_between_points_and_are_found_by_their_key() -> None:
    bench, rng = Workbench(), random.Random(5)
    a, b, c = (random_image(rng, SEGMENT * 2 + 100 * n) for n in range(3))
    first = bench.backup(SparseDisk.of(a), SparseDisk.of(b), keys=["a", "b"])
    changes = change(rng, b, 2)
    second = bench.backup((SparseDisk.of(c), []), (SparseDisk.of(b), changes), parent=first, keys=["c", "b"])
    assert_same_as_a_full_backup(bench, second, [c, b])
    third_a, third_c = SparseDisk.of(a), SparseDisk.of(c)
    third = bench.backup((third_a, []), (third_c, []), parent=second, keys=["a", "c"])
    assert_same_as_a_full_backup(bench, third, [a, c])
    assert third_c.read_bytes == 0, "nothing changed since its parent"
    assert third_a.read_bytes == sum(len(piece) for piece in third_a.pieces.values()), "its parent does not have it"
    assert_same_as_a_full_backup(bench, first, [a, random_image_of(5, 1)])


def random_image_of(seed: int, which: int) -> bytearray:
    rng = random.Random(seed)
    return [random_image(rng, SEGMENT * 2 + 100 * n) for n in range(3)][which]


def test_a_machine_without_disks_can_be_backed_up() -> None:
    bench = Workbench()
    point = bench.backup()
    assert bench.point(point.sid).disks == []
    later = bench.backup(SparseDisk.of(noise(1, 5000)), parent=point)
    bench.assert_restores(later.disks[0], noise(1, 5000))


@pytest.mark.parametrize("size", [0, 1, 511, 512, 4095, 4096])
@pytest.mark.parametrize("zero", [True, False])
def test_a_disk_smaller_than_a_block_comes_back(size: int, zero: bool) -> None:
    bench = Workbench()
    data = bytes(size) if zero else noise(1, size)
    point = bench.backup(SparseDisk.of(data))
    assert point.disks[0].root.ref is None or not zero
    bench.assert_restores(point.disks[0], data)
    again = bench.backup((SparseDisk.of(data), []), parent=point)
    assert again.disks[0].root == point.disks[0].root
    grown = data + noise(2, 10_000)
    bench.assert_restores(bench.backup((SparseDisk.of(grown), []), parent=again).disks[0], grown)


def test_an_incremental_reads_only_around_its_changes() -> None:
    bench = Workbench()
    image = bytearray(noise(3, SEGMENT * 40))
    parent = bench.backup(SparseDisk.of(image))
    image[SEGMENT * 7 + 100 : SEGMENT * 7 + 200] = b"x" * 100
    disk = SparseDisk.of(image)
    point = bench.backup((disk, [Extent(SEGMENT * 7 + 100, 100)]), parent=parent)
    assert disk.read_bytes == point.statistics["read_bytes"] <= 8 * 8192
    assert point.statistics["new_chunks"] <= 4
    bench.assert_restores(point.disks[0], image)


def test_every_point_of_a_chain_restores_when_the_others_expired() -> None:
    bench, rng = Workbench(), random.Random(9)
    image = random_image(rng, SEGMENT * 4)
    points, images = [bench.backup(SparseDisk.of(image))], [bytes(image)]
    for _ in range(5):
        changes = change(rng, image, 2)
        points.append(bench.backup((SparseDisk.of(image), changes), parent=points[-1]))
        images.append(bytes(image))
    for point, expected in zip(points, images, strict=True):
        bench.assert_restores(bench.point(point.sid).disks[0], expected)


@pytest.mark.parametrize("tracked", [True, False])
def test_every_page_of_the_parent_that_is_damaged_and_needed_is_a_damaged_parent(tracked: bool) -> None:
    from media.faults import ParentDamaged
    from media.ids import cid_of, container_name
    from media.session import PAGES_SEQ

    bench, disk = Workbench(), sparse(300)
    parent = bench.backup(disk)
    cid = cid_of(1, PAGES_SEQ)
    body, entries = bench.memory.get(container_name(cid)), bench.containers.footer(cid)
    assert set(entries["type"].tolist()) == {2}
    for offset in entries["offset"].tolist():
        bench.overwrite(container_name(cid), body[: offset + 80] + b"\0\0\0\0" + body[offset + 84 :])
        bench.restart()
        for size in (disk.size, SEGMENT * 20, SEGMENT * 70_000):
            new = SparseDisk(size, disk.pieces)
            changes = [Extent(at, 1) for at in disk.pieces if at < size] if tracked else None
            if size == SEGMENT * 20 and offset not in entries["offset"][[0, 1, -1]]:
                continue  # a leaf behind the new end may not be looked at
            with pytest.raises(ParentDamaged):
                bench.backup((new, changes), parent=parent)
    bench.overwrite(container_name(cid), body)
    bench.restart()
    bench.backup((disk, [Extent(0, disk.size)] if tracked else None), parent=parent)
