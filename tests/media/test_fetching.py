"""Fetching ahead: as deep as latency asks for, never deeper or larger than the bounds; and whatever comes back."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pytest

from media.container_reader import ContainerReader
from media.extents import Extent, normal, within
from media.faults import ContainerMissing, ObjectMissing, ObjectUnreadable, RepositoryUnreachable
from media.fetching import Fetched, Fetching
from media.reader import DiskRestore
from media.rebuild import catch_up
from media.recovery_point import list_points
from media.repository import Repository
from media.restore_plan import Chunks, Run, Wanted, runs
from runtime.tasks import in_parallel
from tests.media.fakes import PATIENCE_SECONDS, Around, MemoryTarget, SparseDisk, Together
from tests.media.random_disks import random_image
from tests.media.workbench import OPEN, SEGMENT, Workbench, noise, zeros


def test_requests_in_flight_double_until_latency_is_hidden() -> None:
    fetching = Fetching(openers=2)
    seen: list[int] = []
    together = threading.Condition()
    waiting, wanted = 0, 4

    def fetch(number: int) -> None:
        nonlocal waiting, wanted
        while (item := fetching.request(number)) is not None:
            if isinstance(item, Chunks):
                fetching.planned([run_of(item, 100)])
                continue
            with together:
                waiting += 1
                if waiting == wanted:
                    seen.append(wanted)
                    waiting, wanted = 0, min(2 * wanted, 64)
                    together.notify_all()
                elif len(seen) < 5:
                    round_ = len(seen)
                    while len(seen) == round_:
                        assert together.wait(PATIENCE_SECONDS), (waiting, wanted)
            fetching.fetched(Fetched(item, bytes(item.length)))

    def open_() -> None:
        while (fetched := fetching.take()) is not None:
            fetching.opened(fetched)

    def plan() -> None:
        fetching.put([chunks_of(cid) for cid in range(1, 400)])
        fetching.planned_all()

    tasks = [plan, *fetchers(fetch, 64), open_, open_]
    in_parallel(len(tasks), tasks, lambda _, task: task(), fetching.stop)
    assert seen[:5] == [4, 8, 16, 32, 64]


def test_while_an_opener_has_work_nothing_more_is_asked_for_and_no_more_fetchers_work() -> None:
    """As on a local disk, where one opener may find nothing for a moment."""
    fetching = Fetching(openers=2)
    lock = threading.Lock()
    on_the_way, most, worked = 0, 0, set()
    all_open = threading.Event()

    def fetch(number: int) -> None:
        nonlocal on_the_way, most
        while (item := fetching.request(number)) is not None:
            with lock:
                worked.add(number)
                on_the_way += 1
                most = max(most, on_the_way)
            if isinstance(item, Chunks):
                answer = partial(fetching.planned, [run_of(item, 100)])
            else:
                answer = partial(fetching.fetched, Fetched(item, bytes(item.length)))
            with lock:
                on_the_way -= 1
            answer()

    def open_first() -> None:
        first = fetching.take()
        assert first is not None
        assert all_open.wait(PATIENCE_SECONDS)
        fetching.opened(first)

    def open_others() -> None:
        for _ in range(298):
            fetched = fetching.take()
            assert fetched is not None
            fetching.opened(fetched)
        all_open.set()

    def plan() -> None:
        fetching.put([chunks_of(cid) for cid in range(1, 300)])
        fetching.planned_all()

    tasks = [plan, *fetchers(fetch, 64), open_first, open_others]
    in_parallel(len(tasks), tasks, lambda _, task: task(), fetching.stop)
    assert worked <= {0, 1, 2, 3}
    assert most <= 4


def fetchers(fetch: Callable[[int], None], count: int) -> list[Callable[[], None]]:
    return [partial(fetch, number) for number in range(count)]


def chunks_of(cid: int) -> Chunks:
    return Chunks(
        np.zeros(1, np.uint64),
        np.ones(1, np.uint32),
        np.zeros((1, 32), np.uint8),
        np.full(1, cid, np.uint64),
        np.zeros(1, np.uint32),
    )


def run_of(chunks: Chunks, length: int) -> Run:
    return Run(int(chunks.cids[0]), chunks, [Wanted(0, length, 0, 1, bytes(32), 0, 1)])


@pytest.mark.parametrize("seed", range(10))
def test_bytes_asked_for_fetched_or_being_opened_stay_within_the_bound_and_nothing_is_lost(seed: int) -> None:
    rng = random.Random(seed)
    most_bytes = 1000
    fetching = Fetching(openers=3, most_requests=rng.choice([3, 16, 64]), most_bytes=most_bytes)
    lengths = {cid: [rng.choice([1, 10, 300, 999, 5000]) for _ in range(rng.randrange(4))] for cid in range(1, 120)}
    lock = threading.Lock()
    held, opened = [0, 0], []  # bytes and runs

    def hold(length: int, runs_: int) -> None:
        with lock:
            held[0] += length
            held[1] += runs_
            assert held[0] <= most_bytes or held[1] == 1, held

    def fetch(number: int) -> None:
        while (item := fetching.request(number)) is not None:
            if isinstance(item, Chunks):
                fetching.planned(run_of(item, length) for length in lengths[int(item.cids[0])])
            else:
                hold(item.length, 1)
                fetching.fetched(Fetched(item, b""))

    def open_() -> None:
        while (fetched := fetching.take()) is not None:
            opened.append((fetched.run.cid, fetched.run.length))
            hold(-fetched.run.length, -1)
            fetching.opened(fetched)

    def plan() -> None:
        fetching.put([chunks_of(cid) for cid in lengths])
        fetching.planned_all()

    tasks = [plan, *fetchers(fetch, 20), *[open_] * 3]
    in_parallel(len(tasks), tasks, lambda _, task: task(), fetching.stop)
    assert sorted(opened) == sorted((cid, length) for cid, each in lengths.items() for length in each)


def test_whoever_waits_goes_home_when_it_stops() -> None:
    fetching = Fetching(openers=1)

    def fail() -> None:
        raise ValueError("the first")

    def put() -> None:
        assert not fetching.put([chunks_of(cid) for cid in range(1, 1000)])

    tasks = [put, fetching.take, fetching.take, fail]
    with pytest.raises(ValueError, match="the first"):
        in_parallel(len(tasks), tasks, lambda _, task: task(), fetching.stop)


class DataTogether(Together):
    """Only for containers of chunks."""

    def get_extent(self, name: str, offset: int, length: int) -> bytes:
        if self.inner.get(name)[10] == 1:
            return super().get_extent(name, offset, length)
        return self.inner.get_extent(name, offset, length)


def test_a_restore_asks_for_many_runs_at_once() -> None:
    bench = Workbench(OPEN)
    image = noise(5, SEGMENT * 80)
    tree = bench.backup(SparseDisk.of(image)).disks[0]
    together = DataTogether(bench.memory, first=4, most=16)
    bench.behind(together)
    bench.assert_restores(tree, image)
    assert together.deepest == 16


def test_leaf_pages_of_a_window_are_asked_for_together() -> None:
    bench = Workbench(OPEN)
    image = noise(6, SEGMENT * 40)
    tree = bench.backup(SparseDisk.of(image)).disks[0]
    root = tree.root.ref
    assert root is not None
    containers = ContainerReader(bench.pool)
    containers.footer(root.cid)

    class Pages(Together):
        def get_extent(self, name: str, offset: int, length: int) -> bytes:
            root_page = int(containers.footer(root.cid)["offset"][root.slot]) == offset
            if self.inner.get(name)[10] != 2 or root_page:
                return self.inner.get_extent(name, offset, length)
            return super().get_extent(name, offset, length)

    pages = Pages(bench.memory, first=32, most=32)
    bench.behind(pages)
    bench.assert_restores(tree, image)
    assert pages.deepest == 32


def test_leaves_of_the_parent_are_asked_for_together_in_a_backup() -> None:
    bench = Workbench(OPEN)
    image = noise(7, SEGMENT * 40)
    parent = bench.backup(SparseDisk.of(image))
    root = parent.disks[0].root.ref
    assert root is not None
    root_offset = int(ContainerReader(bench.pool).footer(root.cid)["offset"][root.slot])

    class Leaves(Together):
        def get_extent(self, name: str, offset: int, length: int) -> bytes:
            if self.inner.get(name)[10] != 2 or offset == root_offset:
                return self.inner.get_extent(name, offset, length)
            return super().get_extent(name, offset, length)

    leaves = Leaves(bench.memory, first=32, most=32)
    bench.behind(leaves)
    bench.backup(SparseDisk.of(image), parent=parent)
    assert leaves.deepest == 32


def test_registers_are_asked_for_together() -> None:
    bench = Workbench(OPEN)
    for seed in range(10):
        bench.backup(SparseDisk.of(noise(seed, 4096)))
    registers = Registers(bench.memory, first=8, most=8)
    bench.behind(registers)
    assert [commit.sid for commit in list_points(bench.pool).commits] == list(range(1, 11))
    assert registers.deepest == 8


class Registers(Together):
    def get(self, name: str) -> bytes:
        return self.get_extent(name, 0, 1 << 20)


def test_footers_for_an_index_are_asked_for_together() -> None:
    bench = Workbench(OPEN)
    bench.backup(SparseDisk.of(noise(8, SEGMENT * 70)))

    class Tails(Together):
        def get_tail(self, name: str, length: int) -> tuple[bytes, int]:
            with self._changed:
                if self.deepest < self._most:
                    self._wait()
            return self.inner.get_tail(name, length)

    tails = Tails(bench.memory, first=64, most=64)
    bench.behind(tails)
    bench.restart()
    learned = catch_up(bench.pool, bench.containers, bench.known, lambda _: None, lambda _: None)
    assert not learned.damaged
    assert learned.containers > 64
    assert tails.deepest == 64


def every_call(first: int = 1) -> Iterator[int]:
    yield from range(first, 1000)


class Answering(Around):
    """The n-th reply to a reader is `spoilt`; `done` says that there was one."""

    def __init__(self, inner: Repository, n: int, kind: str) -> None:
        super().__init__(inner)
        self._left = n
        self._kind = kind
        self._lock = threading.Lock()
        self.done = False

    def _spoil(self, name: str, answer: bytes) -> bytes:
        with self._lock:
            self._left -= 1
            if self._left:
                return answer
            self.done = True
        if self._kind == "missing":
            raise ObjectMissing(name)
        if self._kind == "unreadable":
            raise ObjectUnreadable(name)
        if self._kind == "unreachable":
            raise RepositoryUnreachable(name)
        if self._kind == "flipped":
            middle = len(answer) // 2
            return answer[:middle] + bytes([answer[middle] ^ 1]) + answer[middle + 1 :]
        return {"short": answer[: len(answer) * 2 // 3], "empty": b""}[self._kind]

    def get_extent(self, name: str, offset: int, length: int) -> bytes:
        return self._spoil(name, super().get_extent(name, offset, length))

    def get_tail(self, name: str, length: int) -> tuple[bytes, int]:
        tail, size = super().get_tail(name, length)
        return self._spoil(name, tail), size


@pytest.mark.parametrize("kind", ["missing", "unreadable", "short", "empty", "flipped"])
def test_whatever_one_reply_is_the_rest_is_restored_and_what_is_lost_is_named(kind: str) -> None:
    rng = random.Random(kind)
    bench = Workbench()
    image = bytes(random_image(rng, SEGMENT * 5 + 999))
    tree = bench.backup(SparseDisk.of(image)).disks[0]
    spoilt = 0
    for n in every_call():
        answering = Answering(bench.memory, n, kind)
        bench.behind(answering)
        target, outcome = bench.restore(tree, workers=1)
        assert target.data == zeros(image, outcome.lost_extents), n
        if not answering.done:
            break
        spoilt += bool(outcome.lost)
    assert n > 5
    assert spoilt, "some of the replies mattered"


def test_a_place_that_goes_away_at_any_reply_is_raised_and_nobody_hangs() -> None:
    bench = Workbench()
    image = bytes(random_image(random.Random(9), SEGMENT * 6))
    tree = bench.backup(SparseDisk.of(image)).disks[0]
    for n in every_call():
        answering = Answering(bench.memory, n, "unreachable")
        bench.behind(answering)
        if n > 1 and not _fails(bench, tree):
            assert not answering.done
            break
    assert n > 5


def _fails(bench: Workbench, tree: object) -> bool:
    target = MemoryTarget(tree.size)  # type: ignore[attr-defined]
    restore = DiskRestore(bench.pool, bench.containers, tree, target, 2, lambda _: None)  # type: ignore[arg-type]
    try:
        restore.run()
    except RepositoryUnreachable:
        return True
    return False


@pytest.mark.parametrize("seed", range(12))
def test_random_disks_with_lost_containers_come_back_but_for_what_lay_in_them(seed: int) -> None:
    """Against the slow oracle: every chunk on its own, by its place."""
    rng = random.Random(seed)
    bench = Workbench()
    image = random_image(rng, SEGMENT * rng.randrange(1, 12) + rng.randrange(SEGMENT))
    point = bench.backup(SparseDisk.of(image))
    for _ in range(rng.randrange(3)):
        at = rng.randrange(len(image))
        image[at : at + 9000] = rng.randbytes(len(image[at : at + 9000]))
        point = bench.backup(SparseDisk.of(image), parent=point)
    tree = point.disks[0]
    data = [name for name in (e.name for e in bench.memory.list("c/")) if bench.memory.get(name)[10] == 1]
    gone = set(rng.sample(data, min(len(data), rng.randrange(3))))
    lost = []
    for segment, leaf in bench.leaves(tree):
        for offset, length, cid in zip(
            leaf.offsets.tolist(), leaf.lengths.tolist(), leaf.places.cids.tolist(), strict=True
        ):
            if f"c/{cid >> 24:010x}/{cid & 0xFFFFFF:06x}" in gone:
                lost.append(Extent(segment * SEGMENT + offset, length))
    for name in gone:
        bench.memory.delete(name)
    bench.behind(bench.memory)
    window = rng.choice([SEGMENT, SEGMENT * 3, SEGMENT * 1000])
    target, outcome = bench.restore(tree, window_bytes=window, workers=rng.choice([1, 3]))
    assert outcome.lost_extents == normal(lost)
    assert all(isinstance(each.fault, ContainerMissing) for each in outcome.lost)
    assert target.data == zeros(image, normal(lost))


@pytest.mark.parametrize("seed", range(20))
def test_runs_cover_every_wanted_record_once_with_gaps_up_to_a_mebibyte_or_none_left_out(seed: int) -> None:
    from media.container import FOOTER_DTYPE
    from media.record import HEADER_BYTES

    rng = np.random.default_rng(seed)
    footer = np.zeros(400, FOOTER_DTYPE)
    footer["stored_len"] = rng.integers(16, 160_000, 400)
    ends = np.cumsum(footer["stored_len"].astype(np.int64) + HEADER_BYTES)
    footer["offset"] = ends - footer["stored_len"] - HEADER_BYTES
    footer["fingerprint"] = rng.integers(0, 256, (400, 32))
    share = rng.choice([0.02, 0.1, 0.4, 0.6, 1.0])
    slots = np.flatnonzero(rng.random(400) < share).astype(np.uint32)
    chunks = Chunks(
        np.arange(len(slots), dtype=np.uint64) * np.uint64(1 << 20),
        np.full(len(slots), 7, np.uint32),
        np.ascontiguousarray(footer["fingerprint"][slots]),
        np.full(len(slots), 5, np.uint64),
        slots,
    )
    planned = list(runs(5, chunks, footer))
    assert [record.slot for run in planned for record in run.records] == slots.tolist()
    assert all(run.length <= 8 << 20 for run in planned)
    used = sum(int(footer["stored_len"][slot]) + HEADER_BYTES for slot in slots)
    for run in planned:
        for one, two in itertools.pairwise(run.records):
            assert two.offset - one.end <= 1 << 20 or 2 * used > ends[-1]
    for one, two in itertools.pairwise(planned):
        wide = two.offset - one.records[-1].end > 1 << 20
        assert wide or two.records[0].end - one.offset > 8 << 20
    assert all(list(within([Extent(run.offset, run.length)], 0, int(ends[-1]))) for run in planned)
