"""A backup that fails is a clean fault: nothing is visible, nothing hangs; the next goes on from what was stored."""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Callable
from concurrent import futures

import pytest

from media import frame, packing
from media.faults import DiskResized, DiskUnreadable, RepositoryFull, RepositoryUnreachable, SessionUnknown
from media.frame import Kind
from media.packing import Uploads
from media.rebuild import catch_up
from media.recovery_point import list_points
from runtime.faults import Fault
from tests.media.fakes import OnPut, Recording, SparseDisk
from tests.media.workbench import SEGMENT, Workbench, noise
from tests.runtime.interrupts import interrupting

DATA = noise(1, SEGMENT * 8)


class Failing(OnPut):
    """The n-th put fails, and every one after it while `stays`."""

    def __init__(self, bench: Workbench, n: int, fault: Callable[[str], Fault], *, stays: bool) -> None:
        super().__init__(bench.memory, self._hook_of)
        self.count = 0
        self._n, self._fault, self._stays = n, fault, stays

    def _hook_of(self, name: str) -> None:
        self.count += 1
        if self.count == self._n or (self._stays and self.count > self._n):
            raise self._fault(f"put {name}: the {self.count}. put fails")


def puts_of_a_whole_backup() -> int:
    bench = Workbench()
    recording = Recording(bench.memory)
    bench.behind(recording)
    bench.backup(SparseDisk.of(DATA))
    return len(recording.puts)


def assert_tombstone(bench: Workbench, sid: int) -> dict:
    name = f"rp/{sid:010x}"
    register = frame.decode_json(bench.pool.keys, Kind.REGISTER, name, bench.memory.get(name))
    assert register["kind"] == "tombstone"
    return register


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("stays", [False, True], ids=["once", "from then on"])
def test_a_repository_that_is_full_at_any_put_is_a_clean_fault(
    stays: bool, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    full = puts_of_a_whole_backup()
    with caplog.at_level(logging.DEBUG):
        for n in range(1, full + 1):
            bench = Workbench()
            bench.behind(Failing(bench, n, RepositoryFull, stays=stays))
            with pytest.raises((RepositoryFull, SessionUnknown)):
                bench.backup(SparseDisk.of(DATA), workers=workers)
            bench.behind(bench.memory)
            assert list_points(bench.pool).commits == []
    assert caplog.records == [], "nothing was printed on the side"


@pytest.mark.parametrize("workers", [1, 3])
def test_the_next_run_finds_what_an_interrupted_one_stored(workers: int) -> None:
    bench = Workbench()
    bench.behind(Failing(bench, 6, RepositoryFull, stays=False))
    with pytest.raises(RepositoryFull):
        bench.backup(SparseDisk.of(DATA), workers=workers)
    bench.behind(bench.memory)
    assert assert_tombstone(bench, 1)["reason"] == "RepositoryFull"
    assert len(bench.containers_of(1)) >= 3
    bench.restart()
    catch_up(bench.pool, bench.containers, bench.known, lambda _: None, lambda _: None)
    point = bench.backup(SparseDisk.of(DATA), workers=workers)
    assert 0 < point.statistics["new_bytes"] <= len(DATA) - 2 * SEGMENT
    bench.assert_restores(point.disks[0], DATA)


def test_the_same_process_goes_on_from_what_its_own_failed_run_stored() -> None:
    bench = Workbench()
    known = bench.known
    bench.behind(Failing(bench, 6, RepositoryUnreachable, stays=True))
    with pytest.raises(RepositoryUnreachable):
        bench.backup(SparseDisk.of(DATA))
    bench.behind(bench.memory)
    bench.known = known
    point = bench.backup(SparseDisk.of(DATA))
    assert point.statistics["new_bytes"] < len(DATA) - 2 * SEGMENT
    bench.assert_restores(point.disks[0], DATA)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize(
    ("attribute", "value", "fault"),
    [
        ("fails_at", 0, DiskUnreadable),
        ("fails_at", SEGMENT * 6 + 5, DiskUnreadable),
        ("shrinks_at", SEGMENT * 7, DiskResized),
        ("resized", True, DiskResized),
    ],
)
def test_a_disk_that_fails_on_the_way_is_a_clean_fault(
    attribute: str, value: int, fault: type[Fault], workers: int
) -> None:
    bench, disk = Workbench(), SparseDisk.of(DATA)
    setattr(disk, attribute, value)
    with pytest.raises(fault):
        bench.backup(SparseDisk.of(noise(2, SEGMENT)), disk, workers=workers)
    assert list_points(bench.pool).commits == []
    assert assert_tombstone(bench, 1)["reason"] == fault.__name__
    point = bench.backup(SparseDisk.of(DATA))
    bench.assert_restores(point.disks[0], DATA)


def test_an_interrupt_ends_the_session() -> None:
    bench, disk = Workbench(), SparseDisk.of(DATA)

    def interrupt(offset: int, buffer: memoryview) -> None:
        raise KeyboardInterrupt

    disk.read_into = interrupt  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        bench.backup(disk)
    assert json.dumps(assert_tombstone(bench, 1)["reason"]) == '"KeyboardInterrupt"'


def test_a_foreign_object_in_the_place_of_our_container_is_never_taken_for_ours() -> None:
    bench = Workbench()

    def intrude(name: str) -> None:
        if name == "c/0000000001/000001":
            bench.memory.put_new(name, b"somebody else's")

    bench.behind(OnPut(bench.memory, intrude))
    with pytest.raises(Fault, match="c/0000000001/000001"):
        bench.backup(SparseDisk.of(DATA), workers=2)
    assert list_points(bench.pool).commits == []


def test_uploads_that_have_not_begun_are_dropped_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    bench, dropped = Workbench(), threading.Event()
    bench.behind(OnPut(bench.memory, lambda name: dropped.wait() and None if name.startswith("c/") else None))
    uploads = Uploads(bench.log(), buffers=3, threads=1, durable=lambda footer: None)
    for _ in range(3):
        uploads.ship(uploads.open())
    for future in uploads._pending:
        future.add_done_callback(lambda _: dropped.set())  # the first to be done is one that was dropped
    uploads.abandon()
    assert len(list(bench.memory.list("c/"))) == 1
    assert caplog.records == []


def test_a_worker_that_loses_the_free_buffer_to_another_makes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Raced:
        """There was a buffer, but another worker has it now, and gives none back."""

        def empty(self) -> bool:
            return False

        def get_nowait(self) -> memoryview:
            raise queue.Empty

        def get(self) -> memoryview:
            pytest.fail("waits for ever")

    bench = Workbench()
    uploads = Uploads(bench.log(), buffers=1, threads=1, durable=lambda footer: None)
    monkeypatch.setattr(uploads, "_free", Raced())
    assert len(uploads.open()) == 0
    uploads.abandon()


def test_no_upload_runs_when_they_were_abandoned_also_by_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    bench, waits, running = Workbench(), threading.Event(), []

    def put(name: str) -> None:
        if name.startswith("c/"):
            running.append(name)
            waits.wait()
            interrupts.send()
            sum(range(1_000_000))  # what a caller that was let go too early does not wait for
            running.remove(name)

    def wait(pending: list[futures.Future[None]], timeout: float) -> object:
        waits.set()
        return futures.wait(pending, timeout)

    def finish() -> None:
        try:
            uploads.finish()
        finally:
            uploads.abandon()

    monkeypatch.setattr(packing, "wait", wait)
    bench.behind(OnPut(bench.memory, put))
    uploads = Uploads(bench.log(), buffers=1, threads=1, durable=lambda footer: None)
    uploads.ship(uploads.open())
    with interrupting() as interrupts, pytest.raises(KeyboardInterrupt):
        finish()
    assert running == []
