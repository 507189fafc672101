"""Random access to a disk of a point: the bytes that the disk had, few requests, damage only where it is."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from media.chunk_reader import ChunkReader
from media.container_reader import ContainerReader
from media.disk_view import DiskView
from media.extents import Extent, gaps, normal, within
from media.faults import DamageFault, DiskResized, ExtentLost, RepositoryUnreachable
from media.recovery_point import DiskTree
from tests.media.fakes import Around, Recording, SparseDisk
from tests.media.random_disks import random_image
from tests.media.workbench import SEGMENT, Workbench, noise


@contextmanager
def view_of(bench: Workbench, tree: DiskTree, **options: int) -> Iterator[DiskView]:
    """With nothing remembered."""
    with ChunkReader(bench.pool, ContainerReader(bench.pool), **options) as chunks:
        yield DiskView(bench.pool, chunks, tree)


def data_containers(bench: Workbench, sid: int) -> list[str]:
    return [name for name in bench.containers_of(sid) if bench.memory.get(name)[10] == 1]


def random_reads(rng: random.Random, size: int, count: int) -> Iterator[Extent]:
    """Of any length and place, some at the ends, some one behind the other."""
    at = 0
    for _ in range(count):
        length = rng.choice((1, 511, 512, 4096, 5000, 70_000, SEGMENT * 3))
        offset = rng.choice((0, at, size - length, rng.randrange(size)))
        offset = max(0, min(offset, size))
        length = min(length, size - offset)
        at = offset + length
        yield Extent(offset, length)


@pytest.mark.parametrize("cache_bytes", [0, 10_000, 1 << 20])
@pytest.mark.parametrize("seed", range(8))
def test_any_read_gives_what_the_disk_had(seed: int, cache_bytes: int) -> None:
    rng = random.Random(seed)
    bench = Workbench()
    image = bytes(SEGMENT) + bytes(random_image(rng, SEGMENT * 7 + rng.randrange(9000))) + bytes(SEGMENT * 2 + 5)
    tree = bench.backup(SparseDisk.of(image)).disks[0]
    with view_of(bench, tree, cache_bytes=cache_bytes) as view:
        assert view.size == len(image)
        for extent in random_reads(rng, len(image), 150):
            wanted = image[extent.offset : extent.end]
            assert view.read(extent.offset, extent.length) == wanted
            buffer = bytearray(extent.length)
            view.read_into(extent.offset, memoryview(buffer))
            assert buffer == wanted
            known = view.cached(extent.offset, extent.length)
            assert known is None or b"".join(known) == wanted


@pytest.mark.parametrize("seed", range(8))
def test_data_extents_are_what_chunks_cover_and_cost_no_data(seed: int) -> None:
    rng = random.Random(seed)
    bench = Workbench()
    image = bytes(SEGMENT * 3) + bytes(random_image(rng, SEGMENT * 5)) + bytes(SEGMENT * 40) + noise(seed, SEGMENT * 2)
    point = bench.backup(SparseDisk.of(image))
    tree = point.disks[0]
    covered = normal(Extent(offset, length) for offset, length, _ in bench.chunks(tree))
    recording = Recording(bench.memory)
    bench.behind(recording)
    with view_of(bench, tree) as view:
        for extent in [Extent(0, len(image) + 999), *random_reads(rng, len(image), 60)]:
            expected = list(within(covered, extent.offset, extent.length))
            assert list(view.data_extents(extent.offset, extent.length)) == expected
    touched = {name for name, _, _ in recording.fetched}
    assert not touched & set(data_containers(bench, point.sid))
    assert touched


def test_holes_of_a_disk_of_terabytes_are_skipped_by_its_pages() -> None:
    from media.pool import Parameters

    bench = Workbench(Parameters(encrypted=False, container_bytes=8 << 20))
    places = [0, (4 << 30) - 512, (5 << 40) + 12345 * 4096, (6 << 40) - 700]
    disk = SparseDisk(6 << 40, {at: noise(at % 1000, 600) for at in places})
    tree = bench.backup(disk).disks[0]
    recording = Recording(bench.memory)
    bench.behind(recording)
    with view_of(bench, tree) as view:
        extents = list(view.data_extents(0, disk.size))
        assert len(recording.fetched) < 30
        for place in places:
            assert view.read(place, 600) == disk.bytes(place, 600)
            assert any(within(extents, place, 600))
        assert view.read(3 << 40, 100) == bytes(100)
        assert list(view.data_extents(1 << 40, 1 << 40)) == []


def test_a_chunk_is_fetched_once_and_then_comes_from_the_cache() -> None:
    bench = Workbench()
    point = bench.backup(SparseDisk.of(noise(1, SEGMENT) + noise(1, SEGMENT)))
    recording = Recording(bench.memory)
    bench.behind(recording)
    with view_of(bench, point.disks[0]) as view:
        assert view.cached(0, 4096) is None
        view.read(0, SEGMENT)
        asked = len(recording.fetched)
        assert b"".join(view.cached(100, 5000) or []) == noise(1, SEGMENT)[100:5100]
        view.read(0, SEGMENT)
        view.read(SEGMENT, SEGMENT)  # the same chunks on another place of the disk
        assert {name for name, _, _ in recording.fetched[asked:]}.isdisjoint(data_containers(bench, point.sid))


class Gate(Around):
    """Requests for data wait until `count` of them are there at the same time; too few, and they fail."""

    def __init__(self, inner: Recording, names: set[str], count: int) -> None:
        super().__init__(inner)
        self._names = names
        self._barrier = threading.Barrier(count)

    def get_extent(self, name: str, offset: int, length: int) -> bytes:
        if name in self._names and length != 4 << 10:  # 4 KiB are a container's header
            try:
                self._barrier.wait(20)
            except threading.BrokenBarrierError:
                raise RepositoryUnreachable(f"{name}: nobody else came") from None
        return super().get_extent(name, offset, length)


def test_a_long_read_is_fetched_by_many_requests_at_once() -> None:
    bench = Workbench()
    image = noise(1, SEGMENT * 8)
    point = bench.backup(SparseDisk.of(image))
    names = data_containers(bench, point.sid)
    assert len(names) > 8  # one request each
    bench.behind(Gate(Recording(bench.memory), set(names), len(names)))
    with view_of(bench, point.disks[0], requests_at_once=2 * len(names)) as view:
        assert view.read(0, len(image)) == image


def test_readers_of_one_chunk_at_the_same_time_share_one_fetch() -> None:
    bench = Workbench()
    image = noise(1, 4000)
    point = bench.backup(SparseDisk.of(image))
    names = data_containers(bench, point.sid)
    arrived = threading.Event()

    class Slow(Around):
        def get_extent(self, name: str, offset: int, length: int) -> bytes:
            if name in names:
                assert arrived.wait(20)
            return super().get_extent(name, offset, length)

    recording = Recording(bench.memory)
    bench.behind(Slow(recording))
    with view_of(bench, point.disks[0]) as view, ThreadPoolExecutor(8) as readers:
        reads = [readers.submit(view.read, at * 100, 100) for at in range(8)]
        arrived.set()
        assert [read.result() for read in reads] == [image[at * 100 : at * 100 + 100] for at in range(8)]
    assert len([1 for name, _, length in recording.fetched if name in names and length != 4 << 10]) == 1


def test_who_reads_in_sequence_finds_the_rest_fetched_already() -> None:
    """Misses are counted, not seconds: of some thousand reads, only those of the first chunks wait."""
    bench = Workbench()
    image = bytes(random_image(random.Random(5), SEGMENT * 4)) + bytes(SEGMENT * 300) + noise(2, SEGMENT * 4)
    point = bench.backup(SparseDisk.of(image))

    class Prompt(ChunkReader):
        """Does at once what it would do beside."""

        def ahead(self, call, *args, **kwargs):  # type: ignore[no-untyped-def]
            from concurrent.futures import Future

            done: Future[object] = Future()
            done.set_result(call(*args, **kwargs))
            return done

        def load_ahead(self, refs):  # type: ignore[no-untyped-def]
            self.opened(refs)

    misses = 0
    with Prompt(bench.pool, bench.containers) as chunks:
        view = DiskView(bench.pool, chunks, point.disks[0])
        for extent in point_extents(view):
            for at in range(extent.offset, extent.end, 4096):
                length = min(4096, extent.end - at)
                misses += view.cached(at, length) is None
                assert view.read(at, length) == image[at : at + length]
    assert misses <= 4  # the first chunk, the second; a chunk may lie across two reads


def point_extents(view: DiskView) -> list[Extent]:
    return list(view.data_extents(0, view.size))


def test_who_reads_at_random_is_not_read_ahead_for() -> None:
    bench = Workbench()
    disk = SparseDisk(1 << 40, {at << 30: noise(at, 3000) for at in range(0, 1024, 16)})
    point = bench.backup(disk)
    names = set(data_containers(bench, point.sid))
    recording = Recording(bench.memory)
    bench.behind(recording)
    places = list(disk.pieces)
    random.Random(1).shuffle(places)
    with view_of(bench, point.disks[0]) as view:
        for place in places[:20]:
            assert view.read(place, 3000) == disk.pieces[place]
    opened = sum(length for name, _, length in recording.fetched if name in names and length != 4 << 10)
    assert opened < 21 * 3300


@pytest.mark.parametrize("seed", range(12))
def test_damage_costs_the_bytes_it_hits_and_no_others(seed: int) -> None:
    """A restore says what is lost: a read fails where it touches that, and gives everything else."""
    rng = random.Random(seed)
    bench = Workbench()
    image = bytes(random_image(rng, SEGMENT * 8))
    point = bench.backup(SparseDisk.of(image))
    tree = point.disks[0]
    names = bench.containers_of(point.sid)
    for name in rng.sample(names, 2):
        body = bytearray(bench.memory.get(name))
        if rng.random() < 0.3:
            bench.memory.delete(name)
            continue
        for _ in range(rng.choice((1, 3))):
            body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
        bench.overwrite(name, bytes(body))
    _, outcome = bench.restore(tree)
    lost = outcome.lost_extents
    with view_of(bench, tree) as view:
        for extent in [*lost, *gaps(lost, 0, len(image)), *random_reads(rng, len(image), 100)]:
            hit = list(within(lost, extent.offset, extent.length))
            if not hit:
                assert view.read(extent.offset, extent.length) == image[extent.offset : extent.end]
                continue
            with pytest.raises(ExtentLost) as raised:
                view.read(extent.offset, extent.length)
            assert list(within(lost, *raised.value.extent)) == [raised.value.extent]
            assert raised.value.extent.offset == hit[0].offset
            assert f"at {hit[0].offset}: " in str(raised.value)
            assert isinstance(raised.value.fault, DamageFault)
        for extent in lost:
            assert list(within(view.data_extents(0, len(image)), *extent))


def test_a_place_that_fails_is_told_and_asked_again_by_the_next_reader() -> None:
    bench = Workbench()
    image = noise(1, 5000)
    tree = bench.backup(SparseDisk.of(image)).disks[0]

    class Flaky(Around):
        fails = True

        def get_extent(self, name: str, offset: int, length: int) -> bytes:
            if self.fails:
                raise RepositoryUnreachable(name)
            return super().get_extent(name, offset, length)

    flaky = Flaky(bench.memory)
    bench.behind(flaky)
    with view_of(bench, tree) as view:
        with pytest.raises(RepositoryUnreachable):
            view.read(0, 100)
        flaky.fails = False
        assert view.read(0, 5000) == image


@pytest.mark.parametrize("extent", [(0, 5001), (5000, 1), (-1, 1), (9000, 0)])
def test_a_read_outside_the_disk_is_refused(extent: tuple[int, int]) -> None:
    bench = Workbench()
    tree = bench.backup(SparseDisk.of(noise(1, 5000))).disks[0]
    with view_of(bench, tree) as view:
        with pytest.raises(DiskResized, match="found a disk of 5000"):
            view.read(*extent)
        assert view.read(5000, 0) == b""
