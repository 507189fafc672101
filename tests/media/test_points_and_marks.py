"""Finding the point that a person means, and the marks on it."""

from __future__ import annotations

import threading

import pytest

from media import frame
from media.faults import DamageFault, FormatTooNew, ObjectCorrupt, ObjectUnreadable, PointMissing, RepositoryUnreachable
from media.frame import Kind
from media.marks import MarkKind, put_mark, read_marks
from media.recovery_point import Machine, list_points, read_point
from tests.media.fakes import SparseDisk, Unreadable
from tests.media.workbench import Workbench

WEB, DATABASE = Machine("vm-1", "web"), Machine("vm-2", "db")


@pytest.fixture
def bench() -> Workbench:
    """Points 1 and 3 of web, 2 of db; 4 was aborted, 5 expired, 16 is of web."""
    bench = Workbench()
    for machine in (WEB, DATABASE, WEB):
        bench.backup(SparseDisk.of(b"x"), machine=machine)
    bench.memory.put_new("sess/000000000f", b"")
    bench.backup(SparseDisk.of(b"x"), machine=WEB)
    return bench


@pytest.mark.parametrize(
    ("text", "sid"),
    [
        ("1", 1),
        ("0000000001", 1),
        ("10", 16),
        ("latest", 16),
        ("latest:web", 16),
        ("latest:vm-1", 16),
        ("latest:db", 2),
        ("latest:vm-2", 2),
        ("0000000010", 16),
    ],
)
def test_a_point_is_found_by_number_or_as_the_latest(bench: Workbench, text: str, sid: int) -> None:
    assert list_points(bench.pool).find(text).sid == sid


@pytest.mark.parametrize("text", ["", "4", "zz", "latest:mail", "-1", "f", "last", "10000000000000"])
def test_what_is_no_point_is_missing(bench: Workbench, text: str) -> None:
    with pytest.raises(PointMissing):
        list_points(bench.pool).find(text)


def test_an_empty_repository_says_that_there_is_none() -> None:
    points = list_points(Workbench().pool)
    for text in ("latest", "1"):
        with pytest.raises(PointMissing, match=r"there is none|no recovery point"):
            points.find(text)


def test_points_are_in_order_of_their_number_and_hide_what_expired_or_was_aborted(bench: Workbench) -> None:
    bench.memory.put_new("rpx/0000000003", b"")
    name = "rp/0000000004"
    body = {"kind": "tombstone", "reason": "test", "nonce": "", "time": ""}
    bench.memory.put_new(name, frame.encode_json(bench.pool.keys, Kind.REGISTER, name, body))
    bench.memory.put_new("rp/readme", b"a foreign file")
    points = list_points(bench.pool)
    assert [commit.sid for commit in points.commits] == [1, 2, 16]
    assert points.damaged == {}
    newest = points.newest_of("vm-2")
    assert newest is not None
    assert newest.sid == 2
    assert points.newest_of("vm-9") is None
    assert points.commits[-1].id == "0000000010"


def test_a_damaged_register_is_told_and_hides_no_other_point(bench: Workbench) -> None:
    for damage in (b"", bench.memory.get("rp/0000000003")[:-1] + b"!", bench.memory.get("rp/0000000001")):
        bench.overwrite("rp/0000000002", damage)
        points = list_points(bench.pool)
        assert [commit.sid for commit in points.commits] == [1, 3, 16]
        with pytest.raises(DamageFault, match="rp/0000000002"):
            points.find("2")


def test_marks_are_kept_in_order(bench: Workbench) -> None:
    for number, kind in enumerate(MarkKind):
        bench.clock.seconds += 60
        put_mark(bench.pool, 1, kind, "someone", f"note {number}", bench.clock)
    marks = read_marks(bench.pool, 1)
    assert [mark.kind for mark in marks] == list(MarkKind)
    assert [mark.time[14:16] for mark in marks] == ["01", "02", "03", "04", "05"]
    assert marks[2].note == "note 2"
    assert read_marks(bench.pool, 2) == []
    assert read_marks(bench.pool, 0x10) == []


def test_marks_that_are_put_at_once_are_all_kept(bench: Workbench) -> None:
    threads = [
        threading.Thread(target=put_mark, args=(bench.pool, 1, MarkKind.HOLD, str(n), "", bench.clock))
        for n in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(mark.who for mark in read_marks(bench.pool, 1)) == sorted(map(str, range(12)))


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({"kind": "quarantined", "time": "", "who": ""}, FormatTooNew),
        ({"kind": "hold"}, ObjectCorrupt),
        ({}, ObjectCorrupt),
        ({"kind": [], "time": "", "who": ""}, FormatTooNew),
    ],
)
def test_a_mark_that_cannot_be_understood_is_a_fault_because_it_may_be_a_hold(
    bench: Workbench, body: dict, fault: type[DamageFault]
) -> None:
    name = "rpm/0000000001/000000"
    bench.memory.put_new(name, frame.encode_json(bench.pool.keys, Kind.MARK, name, body))
    with pytest.raises(fault, match=name):
        read_marks(bench.pool, 1)


def test_a_register_or_detail_that_cannot_be_read_is_damage_of_its_own_point(bench: Workbench) -> None:
    bench.behind(Unreadable(bench.memory, {"rp/0000000001", "rpd/0000000002"}))
    points = list_points(bench.pool)
    assert [commit.sid for commit in points.commits] == [2, 3, 16]
    with pytest.raises(ObjectUnreadable, match="rp/0000000001"):
        points.find("1")
    with pytest.raises(DamageFault, match="rpd/0000000002"):
        read_point(bench.pool, points.find("2"))
    assert read_point(bench.pool, points.find("3")).sid == 3


def test_a_mark_that_cannot_be_read_is_damage(bench: Workbench) -> None:
    put_mark(bench.pool, 1, MarkKind.HOLD, "someone", "", bench.clock)
    bench.behind(Unreadable(bench.memory, {entry.name for entry in bench.memory.list("rpm/")}))
    with pytest.raises(DamageFault, match="rpm/0000000001"):
        read_marks(bench.pool, 1)


def test_points_are_not_listed_while_the_repository_does_not_answer(bench: Workbench) -> None:
    bench.behind(Unreadable(bench.memory, {"rp/0000000001"}, RepositoryUnreachable))
    with pytest.raises(RepositoryUnreachable):
        list_points(bench.pool)
