"""Sessions: one number a writer, one end a session, and nothing visible before everything is durable."""

from __future__ import annotations

import errno
import os
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from media.container import Kind, decode_header, scan
from media.container_reader import ContainerReader
from media.extents import Extent
from media.faults import (
    FormatTooNew,
    ObjectExists,
    ObjectForeign,
    ParentDamaged,
    ParentUnfit,
    RepositoryDenied,
    RepositoryFault,
    RepositoryFull,
    RepositoryUnfit,
    RepositoryUnreachable,
    RepositoryUnsynced,
    SessionEnded,
    SessionFull,
    SessionUnknown,
)
from media.ids import cid_of, register_name
from media.recovery_point import list_points
from media.repository import Buffer, Entry
from media.repository.local import LocalRepository
from media.repository.posix import RealPosix
from media.session import HEARTBEAT_SECONDS, Process, Session, put_register
from tests.media.fakes import Around, OnPut, Recording, SparseDisk
from tests.media.workbench import SEGMENT, Workbench, noise

DATA = noise(1, SEGMENT * 4)


class LostReplies(Around):
    """So many puts below `prefix` land, or do not, and then say that the place did not answer."""

    def __init__(self, bench: Workbench, prefix: str, times: int, *, lands: bool = True) -> None:
        super().__init__(bench.memory)
        self._prefix, self._times, self._lands = prefix, times, lands

    def put_new(self, name: str, body: Buffer) -> None:
        if not name.startswith(self._prefix) or self._times == 0:
            return super().put_new(name, body)
        self._times -= 1
        if self._lands:
            super().put_new(name, body)
        raise RepositoryUnreachable(f"put {name}: the reply was lost")


def begin(bench: Workbench) -> Session:
    return Session.begin(bench.pool, bench.clock, Process("host", 1))


def test_sixteen_writers_that_begin_at_once_get_sixteen_numbers() -> None:
    """W1."""
    bench = Workbench()
    barrier, sids = threading.Barrier(16), []

    def one() -> None:
        barrier.wait()
        sids.append(begin(bench).sid)

    threads = [threading.Thread(target=one) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sids) == list(range(1, 17))


def test_a_number_is_never_used_again_whatever_lies_under_sess() -> None:
    """I3."""
    bench = Workbench()
    bench.memory.put_new("sess/00000000ff.12", b"a heartbeat")
    bench.memory.put_new("sess/readme", b"a foreign file")
    assert begin(bench).sid == 1
    bench.memory.put_new("sess/0000001000", b"somebody else's")
    assert begin(bench).sid == 0x1001


def test_a_foreign_claim_of_the_last_number_is_a_fault() -> None:
    bench = Workbench()
    bench.memory.put_new("sess/ffffffffff", b"")
    with pytest.raises(ObjectForeign, match="ffffffffff"):
        begin(bench)


def test_container_numbers_of_one_session_are_distinct_across_threads() -> None:
    session, cids = begin(Workbench()), []
    threads = [
        threading.Thread(target=lambda: cids.extend(session.next_cid(Kind.DATA) for _ in range(50))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(cids) == [cid_of(session.sid, seq) for seq in range(400)]


def test_a_claim_whose_reply_was_lost_and_repeated_is_ours() -> None:
    bench = Workbench()

    class Repeating(LostReplies):
        def put_new(self, name: str, body: Buffer) -> None:
            try:
                super().put_new(name, body)
            except RepositoryUnreachable:
                super().put_new(name, body)

    bench.behind(Repeating(bench, "sess/", 1))
    assert begin(bench).sid == 1


def test_an_expired_parent_is_refused() -> None:
    """W4."""
    bench = Workbench()
    parent = bench.backup(SparseDisk.of(DATA))
    bench.memory.put_new("rpx/0000000001", b"")
    with pytest.raises(ParentUnfit, match="0000000001"):
        bench.backup(SparseDisk.of(DATA), parent=parent)
    assert list_points(bench.pool).commits == []


def test_a_parent_that_expires_while_the_session_is_claimed_is_refused() -> None:
    """W4 is checked after W1, never before."""
    bench = Workbench()
    parent = bench.backup(SparseDisk.of(DATA))
    bench.behind(
        OnPut(bench.memory, lambda name: bench.memory.put_new("rpx/0000000001", b"") if "sess/" in name else None)
    )
    with pytest.raises(ParentUnfit):
        bench.backup(SparseDisk.of(DATA), parent=parent)


@pytest.mark.parametrize("changes", [None, []], ids=["reading all", "with changes"])
@pytest.mark.parametrize("prefix", ["rpd/", "c/0000000001/"])
def test_a_damaged_parent_is_said_to_be_damaged(prefix: str, changes: list[Extent] | None) -> None:
    bench = Workbench()
    parent = bench.backup(SparseDisk.of(DATA))
    for entry in list(bench.memory.list(prefix)):
        bench.overwrite(entry.name, bench.memory.get(entry.name)[:100])
    bench.restart()
    with pytest.raises(ParentDamaged):
        bench.backup((SparseDisk(SEGMENT, {}), changes), parent=parent)
    bench.assert_restores(bench.backup(SparseDisk.of(DATA)).disks[0], DATA)


def test_a_repository_that_was_collected_by_a_later_version_is_not_written_to() -> None:
    """W2."""
    bench = Workbench()
    bench.memory.put_new("condemn/00000001", b"")
    with pytest.raises(FormatTooNew, match="collected"):
        bench.backup(SparseDisk.of(DATA))
    assert not list(bench.memory.list("c/"))
    assert list(bench.memory.list("rp/"))  # a tombstone


def test_a_commit_loses_to_a_tombstone() -> None:
    """W7."""
    bench = Workbench()

    def end(name: str) -> None:
        if name.startswith("rpd/"):
            pool = replace(bench.pool, repository=bench.memory)
            Session(pool, 1, "other", pool.keys.new_data_key(), bench.clock).abort("collector gave it up")

    bench.behind(OnPut(bench.memory, end))
    with pytest.raises(SessionEnded, match="rp/0000000001"):
        bench.backup(SparseDisk.of(DATA))
    assert list_points(bench.pool).commits == []


def test_a_detail_that_is_not_ours_is_never_committed() -> None:
    bench = Workbench()
    bench.memory.put_new("rpd/0000000001", b"somebody else's")
    with pytest.raises(SessionEnded, match="rpd/0000000001"):
        bench.backup(SparseDisk.of(DATA))
    assert list_points(bench.pool).commits == []


@pytest.mark.parametrize("lands", [True, False])
@pytest.mark.parametrize("prefix", ["rp/"])
def test_a_commit_whose_reply_was_lost_is_found_to_have_happened(prefix: str, lands: bool) -> None:
    bench = Workbench()
    bench.behind(LostReplies(bench, prefix, 1, lands=lands))
    point = bench.backup(SparseDisk.of(DATA))
    bench.assert_restores(bench.point(point.sid).disks[0], DATA)


@pytest.mark.parametrize("lands", [True, False])
def test_a_commit_that_cannot_be_read_back_is_unknown_and_never_called_failed(lands: bool) -> None:
    bench = Workbench()
    bench.behind(LostReplies(bench, "rp/", 10, lands=lands))
    if lands:

        class Deaf(LostReplies):
            def put_new(self, name: str, body: Buffer) -> None:
                if name.startswith("rp/") and self._times < 10:
                    raise RepositoryUnreachable("still nothing")
                super().put_new(name, body)

        bench.behind(Deaf(bench, "rp/", 10))
    with pytest.raises(SessionUnknown, match="rp/0000000001"):
        bench.backup(SparseDisk.of(DATA))
    bench.behind(bench.memory)
    assert [commit.sid for commit in list_points(bench.pool).commits] == ([1] if lands else [])
    assert bench.backup(SparseDisk.of(DATA)).sid == 2


@pytest.mark.parametrize("fault", [RepositoryUnsynced, RepositoryFull, RepositoryDenied])
def test_a_commit_that_is_there_and_perhaps_not_durable_is_unknown_and_not_asked_for_again(
    fault: type[RepositoryFault],
) -> None:
    """The system tells of a failed sync once: a second put would be refused, synced, and taken for durable."""
    bench, commits = Workbench(), []

    def fail(name: str) -> None:
        if name.startswith("rp/"):
            commits.append(name)
            raise fault(f"put {name}: Input/output error")

    bench.behind(OnPut(bench.memory, after=fail))
    with pytest.raises(SessionUnknown, match="Input/output error"):
        bench.backup(SparseDisk.of(DATA))
    assert commits == ["rp/0000000001"]


def test_a_sync_that_fails_once_behind_the_commit_is_never_called_durable(tmp_path: Path) -> None:
    class Failing(RealPosix):
        failed = False

        def fsync_directory(self, path: Path) -> None:
            if path.name == "rp" and not self.failed and list(path.iterdir()):
                self.failed = True
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            super().fsync_directory(path)

    posix = Failing()
    bench = Workbench(repository=LocalRepository(tmp_path, posix))
    with pytest.raises(SessionUnknown) as caught:
        bench.backup(SparseDisk.of(DATA))
    assert posix.failed
    assert isinstance(caught.value.__cause__, RepositoryUnsynced)
    assert [commit.sid for commit in list_points(bench.pool).commits] == [1]


def test_a_session_that_used_up_its_container_numbers_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("media.session.LAST_SEQ", {Kind.DATA: 1})
    session = begin(Workbench())
    assert [session.next_cid(Kind.DATA) for _ in range(2)] == [cid_of(1, 0), cid_of(1, 1)]
    with pytest.raises(SessionFull, match="begin another backup"):
        session.next_cid(Kind.DATA)


def test_a_place_that_lists_no_claims_and_refuses_them_is_unfit() -> None:
    class Blind(Around):
        def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
            return iter(())

        def put_new(self, name: str, body: Buffer) -> None:
            raise ObjectExists(name)

        def get(self, name: str) -> bytes:
            return b"somebody else's"

    bench = Workbench()
    bench.behind(Blind(bench.memory))
    with pytest.raises(RepositoryUnfit, match="none of them was listed"):
        begin(bench)


def test_a_container_whose_reply_was_lost_and_repeated_is_ours() -> None:
    bench = Workbench()

    class Repeating(LostReplies):
        def put_new(self, name: str, body: Buffer) -> None:
            try:
                super().put_new(name, body)
            except RepositoryUnreachable:
                super().put_new(name, body)

    bench.behind(Repeating(bench, "c/", 100))
    bench.assert_restores(bench.backup(SparseDisk.of(DATA)).disks[0], DATA)


def test_nothing_is_committed_before_every_container_is_durable() -> None:
    """W6, with workers and uploads that finish in any order."""
    bench = Workbench()
    recording = Recording(bench.memory)
    bench.behind(recording)
    point = bench.backup(SparseDisk.of(DATA), SparseDisk.of(noise(2, SEGMENT * 5)), workers=3)
    assert [name.partition("/")[0] for name in recording.puts[-2:]] == ["rpd", "rp"]
    named = {int(cid) for disk in point.disks for _, leaf in bench.leaves(disk) for cid in leaf.places.cids}
    stored = set(recording.puts[:-2])
    assert all(f"c/{cid >> 24:010x}/{cid & 0xFFFFFF:06x}" in stored for cid in named)
    assert stored == {"sess/0000000001", *bench.containers_of(1)}


def test_an_aborted_session_leaves_a_tombstone_and_the_number_is_gone() -> None:
    bench = Workbench()
    session = begin(bench)
    session.abort("test")
    assert not put_register(bench.pool, register_name(session.sid), b"a commit")
    assert list_points(bench.pool).commits == []
    assert begin(bench).sid == 2


def test_an_abort_that_cannot_be_said_is_no_fault() -> None:
    bench = Workbench()
    session = begin(bench)

    def deny(name: str) -> None:
        raise RepositoryDenied(name)

    bench.behind(OnPut(bench.memory, deny))
    session.pool = bench.pool
    session.abort("test")
    with pytest.raises(RepositoryFault):
        put_register(bench.pool, "rp/1", b"")


def test_a_session_beats_every_ten_minutes_and_not_before() -> None:
    bench = Workbench()
    session = begin(bench)
    session.beat()
    bench.clock.seconds += HEARTBEAT_SECONDS - 1
    session.beat()
    assert len(list(bench.memory.list("sess/"))) == 1
    for _ in range(3):
        bench.clock.seconds += HEARTBEAT_SECONDS
        session.beat()
        session.beat()
    assert [entry.name for entry in bench.memory.list("sess/0000000001.")] == [
        f"sess/0000000001.{n}" for n in (1, 2, 3)
    ]


def test_several_writers_at_once_all_commit_points_that_restore() -> None:
    bench = Workbench()
    shared = noise(9, SEGMENT * 2)
    images = {n: shared + noise(n, SEGMENT) + shared[: SEGMENT // 2] for n in range(6)}
    failures: list[BaseException] = []
    points = {}
    barrier = threading.Barrier(len(images))

    def one(n: int) -> None:
        try:
            barrier.wait()
            first = bench.backup(SparseDisk.of(images[n]), workers=2)
            points[n] = bench.backup(SparseDisk.of(images[n] + images[0]), parent=first)
        except BaseException as failure:  # noqa: BLE001 # raised below
            failures.append(failure)

    threads = [threading.Thread(target=one, args=(n,)) for n in images]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len({point.sid for point in points.values()}) == len(images)
    for n, point in points.items():
        bench.assert_restores(bench.point(point.sid).disks[0], images[n] + images[0])
    assert len(list_points(bench.pool).commits) == 2 * len(images)
    assert ContainerReader(bench.pool).footer(1 << 24) is not None


def test_a_data_key_seals_no_more_records_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = 1000
    monkeypatch.setattr("media.session.RECORDS_PER_DATA_KEY", bound)
    bench, image = Workbench(), noise(1, SEGMENT * 8)
    point = bench.backup(SparseDisk.of(image), workers=2)
    records_by_key: Counter[int] = Counter()
    for name in bench.containers_of(point.sid):
        body = memoryview(bench.memory.get(name))
        header = decode_header(body, cid_of(point.sid, int(name[-6:], 16)), bench.pool.id)
        (key_id,) = header.wrapped_keys
        records_by_key[key_id] += len(scan(body, header.cid, header.header_len))
    assert len(records_by_key) > 1
    assert max(records_by_key.values()) <= bound
    bench.assert_restores(bench.point(point.sid).disks[0], image)


def test_a_new_data_key_is_taken_before_the_bound_is_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("media.session.RECORDS_PER_DATA_KEY", 10)
    session = begin(Workbench())
    first, same, second = session.key_for(6), session.key_for(4), session.key_for(1)
    assert first is same
    assert second is not first
