"""Restoring: each container once a window, each record once, each byte once."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from media.container_reader import ContainerReader
from media.extents import Extent, gaps, normal
from media.reader import DiskRestore
from media.record import open_checked
from media.recovery_point import RecoveryPoint
from media.repository import Repository
from runtime.faults import Fault
from tests.media.fakes import Recording, SparseDisk, SparseTarget
from tests.media.random_disks import random_image
from tests.media.workbench import SEGMENT, Workbench, noise


def recorded(bench: Workbench) -> Recording:
    recording = Recording(bench.memory)
    bench.behind(recording)
    return recording


@pytest.mark.parametrize("window", [1, SEGMENT, SEGMENT * 3, SEGMENT * 100])
@pytest.mark.parametrize("reads_zero", [True, False])
@pytest.mark.parametrize("workers", [1, 4])
def test_a_disk_comes_back_through_windows_of_any_size(window: int, reads_zero: bool, workers: int) -> None:
    bench = Workbench()
    image = bytes(SEGMENT * 2) + bytes(random_image(random.Random(1), SEGMENT * 9 + 777)) + bytes(SEGMENT * 2 + 5)
    tree = bench.backup(SparseDisk.of(image)).disks[0]
    advanced: list[int] = []
    target, outcome = bench.restore(
        tree, reads_zero=reads_zero, window_bytes=window, workers=workers, advance=advanced.append
    )
    assert target.data == image
    assert outcome.bytes_written == tree.data_bytes
    assert outcome.hole_bytes == tree.size - tree.data_bytes
    assert sum(advanced) == tree.size
    holes = list(gaps(normal(Extent(o, n) for o, n, _ in bench.chunks(tree)), 0, tree.size))
    assert normal(target.zeroed) == ([] if reads_zero else holes)


def test_a_container_is_asked_for_once_a_window_and_a_footer_once() -> None:
    bench = Workbench()
    first = bench.backup(SparseDisk.of(noise(1, SEGMENT * 6)))
    recording = recorded(bench)
    bench.restore(first.disks[0])
    for name in bench.containers_of(first.sid):
        assert recording.counts["tail " + name] == 1
        if bench.memory.get(name)[10] == 1:
            assert recording.counts["extent " + name] == 1
        assert recording.counts["get " + name] == 0


def test_records_with_a_wide_gap_between_are_fetched_apart_and_with_a_narrow_one_together() -> None:
    from media.pool import Parameters

    bench = Workbench(Parameters(65536, 32 << 20, 32 << 20, encrypted=False))
    data = noise(1, 12 << 20)
    first = bench.backup(SparseDisk.of(data))
    far = data[: 1 << 20] + data[-(1 << 20) :]
    near = data[: 1 << 20] + bytes(4096) + data[3 << 19 : 5 << 19]
    for image, wanted in ((far, 2), (near, 1)):
        bench.behind(bench.memory)
        point = bench.backup(SparseDisk.of(image))
        recording = recorded(bench)
        bench.assert_restores(point.disks[0], image)
        name = bench.containers_of(first.sid)[0]
        fetched = [(o, n) for each, o, n in recording.fetched if each == name and n != 4 << 10]
        assert len(fetched) == wanted, image is far
        assert sum(n for _, n in fetched) < 3 << 20


def test_a_chunk_that_is_used_many_times_is_opened_once_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: Counter[bytes] = Counter()

    def counting(header: bytes, *arguments: Any) -> bool:
        opened[header[16:48]] += 1
        return open_checked(header, *arguments)

    monkeypatch.setattr("media.opening.open_checked", counting)
    bench = Workbench()
    piece = noise(3, SEGMENT)
    point = bench.backup(SparseDisk.of(piece * 12))
    different = {fingerprint for _, _, fingerprint in bench.chunks(point.disks[0])}
    for window, times in ((SEGMENT * 12, 1), (SEGMENT * 3, 4)):
        opened.clear()
        target, _ = bench.restore(point.disks[0], window_bytes=window)
        assert target.data == piece * 12
        assert opened == dict.fromkeys(different, times)


def test_slots_are_hints() -> None:
    """Pages that name wrong slots, as after records were copied elsewhere, cost a search and nothing else."""
    import numpy as np

    from media.page import Interior, Leaf, PageRef, encode
    from media.tree import Root

    bench = Workbench()
    image = noise(1, SEGMENT) + noise(2, SEGMENT)
    tree = bench.backup(SparseDisk.of(image)).disks[0]
    from media.page_packing import PagePacker
    from media.session import Process, Session

    session = Session.begin(bench.pool, bench.clock, Process("host", 1))
    packer = PagePacker(session, lambda cid, container, footer: session.put_container(cid, container), 1 << 20)
    refs = {}
    for segment, leaf in bench.leaves(tree):
        wrong = leaf.places._replace(slots=leaf.places.slots[::-1] + np.uint32(len(refs) * 1000))
        moved = Leaf(leaf.index, leaf.offsets, leaf.lengths, leaf.fingerprints, wrong)
        assert encode(moved)[0] == encode(leaf)[0]
        refs[segment] = packer.add(moved)
    swapped = {0: refs[0]._replace(slot=refs[1].slot), 1: refs[1]._replace(slot=refs[0].slot)}
    root = packer.add(Interior.of(1, 0, swapped))
    packer.flush()
    from dataclasses import replace

    for ref in (root, root._replace(slot=77)):
        assert isinstance(ref, PageRef)
        bench.assert_restores(replace(tree, root=Root(1, ref)), image)


def test_two_pages_that_are_hinted_at_one_place_are_told_apart() -> None:
    """A slot is a hint, so a memory of pages by place alone would answer with the other one."""
    from media.tree import TreeReader

    bench = Workbench()
    one = bench.backup(SparseDisk.of(noise(1, 5000)), SparseDisk.of(noise(2, 5000)))
    first, second = (disk.root.ref for disk in one.disks)
    assert first is not None
    assert second is not None
    assert first.cid == second.cid
    reader = TreeReader(ContainerReader(bench.pool), bench.pool.keys.page)
    hinted = second._replace(slot=first.slot)
    assert reader.interior(first, 1, 0) != reader.interior(hinted, 1, 0) == reader.interior(second, 1, 0)


def test_a_fault_of_the_target_or_of_the_place_is_raised_and_not_called_damage() -> None:
    from media.faults import RepositoryUnreachable, TargetUnwritable
    from tests.media.fakes import Around

    bench = Workbench()
    tree = bench.backup(SparseDisk.of(noise(1, SEGMENT * 3))).disks[0]

    class Broken(SparseTarget):
        def write(self, offset: int, data: memoryview) -> None:
            raise TargetUnwritable("no space")

    class Gone(Around):
        def get_extent(self, name: str, offset: int, length: int) -> bytes:
            raise RepositoryUnreachable(name)

    def run(repository: Repository, target: SparseTarget, fault: type[Fault]) -> None:
        bench.behind(repository)
        restore = DiskRestore(bench.pool, ContainerReader(bench.pool), tree, target, 3, lambda _: None)
        with pytest.raises(fault):
            restore.run()

    run(bench.memory, Broken(), TargetUnwritable)
    run(Gone(bench.memory), SparseTarget(), RepositoryUnreachable)


def point_of_terabytes() -> tuple[Workbench, SparseDisk, RecoveryPoint]:
    from media.pool import Parameters

    bench = Workbench(Parameters(encrypted=False, container_bytes=8 << 20))
    places = [0, (4 << 30) - 512, 4 << 30, (1 << 40) + 4096, (5 << 40) + 12345 * 4096, (6 << 40) - 700]
    disk = SparseDisk(6 << 40, {at: noise(at % 1000, 600) for at in places})
    return bench, disk, bench.backup(disk)


def test_a_disk_of_terabytes_with_little_on_it_is_backed_up_changed_and_restored() -> None:
    bench, disk, point = point_of_terabytes()
    assert point.disks[0].root.depth == 3
    disk.pieces[3 << 40] = noise(77, 70_000)
    disk.pieces = dict(sorted(disk.pieces.items()))
    disk.reads.clear()
    later = bench.backup((disk, [Extent(3 << 40, 70_000)]), parent=point)
    assert disk.read_bytes == 70_000
    grown = SparseDisk((6 << 40) + (1 << 40), disk.pieces)
    last = bench.backup((grown, []), parent=later)
    for tree, size in ((later.disks[0], disk.size), (last.disks[0], grown.size)):
        target = SparseTarget()
        outcome = DiskRestore(bench.pool, bench.containers, tree, target, 2, lambda _: None).run()
        restored = SparseDisk(size, target.pieces)
        assert sum(map(len, target.pieces.values())) == outcome.bytes_written == tree.data_bytes < 400_000
        for at, piece in disk.pieces.items():
            first, length = max(0, at - 5000), len(piece) + 10_000
            assert restored.bytes(first, length) == disk.bytes(first, length)
        assert outcome.bytes_written + outcome.hole_bytes == size
