"""Clocks that jump: order is by session, heartbeats are for others to see, and nothing else looks at the time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from media.extents import Extent
from media.faults import RepositoryUnreachable
from media.ids import REGISTERS, SESSIONS
from media.recovery_point import list_points, read_point
from media.repository import Buffer
from media.repository.memory import MemoryRepository
from media.session import HEARTBEAT_SECONDS, Process, Session
from tests.faults.scenario import assert_points, back_up_bytes, changed_disk, first_disk, make_repo, open_repo_at
from tests.media.fakes import Around

YEARS = ["2026-11-23", "1970-01-01", "2099-12-31", "2026-11-22", "2026-11-23"]


class JumpingClock:
    """Another day at every look, and `step` monotonic seconds between two."""

    def __init__(self, days: list[str], step: float) -> None:
        self._days = days
        self._step = step
        self._looks = 0

    def now(self) -> str:
        self._looks += 1
        return f"{self._days[self._looks % len(self._days)]}T00:00:00.000000Z"

    def monotonic_seconds(self) -> float:
        self._looks += 1
        return self._looks * self._step


class WithoutHeartbeats(Around):
    """Refuses every heartbeat."""

    def put_new(self, name: str, body: Buffer) -> None:
        if name.startswith(SESSIONS) and "." in name:
            raise RepositoryUnreachable(f"put {name}: a fake that fails")
        super().put_new(name, body)


def versions() -> Iterator[tuple[bytes, list[Extent] | None]]:
    """A disk, and what it becomes."""
    disk = first_disk()
    yield disk, None
    for seed in range(4):
        disk, changes = changed_disk(disk, seed)
        yield disk, changes if seed % 2 else None


def live(place: Around | MemoryRepository, clocks: list[JumpingClock]) -> dict[int, bytes]:
    """A backup under each clock, each the parent of the next; checks the points, and returns them."""
    make_repo(place, clock=clocks[0])
    disk_by_sid = {}
    for (disk, changes), clock in zip(versions(), clocks, strict=True):
        repo = open_repo_at(place, clock=clock)
        parent = list_points(repo.pool).newest_of("web")
        assert (None if parent is None else parent.sid) == max(disk_by_sid, default=None)
        disk_by_sid[back_up_bytes(repo, disk, parent, changes).sid] = disk
    pool = open_repo_at(place).pool
    assert [commit.sid for commit in list_points(pool).commits] == [1, 2, 3, 4, 5]
    assert_points(pool, disk_by_sid)
    return disk_by_sid


@pytest.mark.parametrize("step", [0.0, 1e-9, HEARTBEAT_SECONDS, 1e12, -1e6], ids=str)
def test_points_are_in_order_of_sessions_whatever_the_clocks_say(step: float) -> None:
    place = MemoryRepository()
    live(place, [JumpingClock(YEARS[n:] + YEARS[:n], step) for n in range(5)])
    pool = open_repo_at(place).pool
    times = [commit.time for commit in list_points(pool).commits]
    assert times != sorted(times)
    assert [read_point(pool, commit).time for commit in list_points(pool).commits] == times


def test_the_trees_do_not_show_the_time() -> None:
    """What a clock changes is only what it is asked for: the same containers are stored whatever it says."""
    counts = []
    for step in (0.0, 1e6):
        place = MemoryRepository()
        live(place, [JumpingClock(YEARS, step) for _ in range(5)])
        counts.append(len(list(place.list("c/"))))
    assert counts[0] == counts[1]


def test_a_heartbeat_is_written_when_it_is_due_and_numbered() -> None:
    place = MemoryRepository()
    clock = JumpingClock(YEARS, HEARTBEAT_SECONDS / 2)
    repo = make_repo(place, clock=clock)
    session = Session.begin(repo.pool, clock, Process("host", 1))
    for _ in range(8):
        session.beat()
    beats = [entry.name for entry in place.list(f"{SESSIONS}0000000001.")]
    assert beats == [f"{SESSIONS}0000000001.{n}" for n in range(1, 5)]


def test_a_heartbeat_that_fails_costs_nothing() -> None:
    place = WithoutHeartbeats(MemoryRepository())
    live(place, [JumpingClock(YEARS, HEARTBEAT_SECONDS) for _ in range(5)])
    assert not [entry for entry in place.list(SESSIONS) if "." in entry.name]
    assert len(list(place.list(REGISTERS))) == 5
