"""Wrappers that count and that slow down."""

from __future__ import annotations

from media.repository.counted import Counted, Counts
from media.repository.memory import MemoryRepository
from media.repository.paced import Paced
from runtime.pacing import Hours, Pace, Rates
from tests.media.fakes import FakeClock


def test_requests_and_bytes_are_counted_and_priced() -> None:
    counts = Counts()
    repository = Counted(MemoryRepository(), counts)
    for number in range(2500):
        repository.put_new(f"sess/{number:010x}", b"1234")
    repository.get("sess/0000000000")
    repository.get_extent("sess/0000000000", 1, 2)
    repository.get_tail("sess/0000000000", 1)
    assert len(list(repository.list(""))) == 2500
    repository.delete("sess/0000000000")
    assert counts.requests == {"put": 2500, "get": 3, "list": 3, "delete": 1}
    assert (counts.sent_bytes, counts.received_bytes) == (10000, 7)
    assert abs(counts.usd - (2503 * 0.005 + 3 * 0.0004) / 1000) < 1e-12


def test_an_empty_listing_is_a_request_too() -> None:
    counts = Counts()
    assert list(Counted(MemoryRepository(), counts).list("")) == []
    assert counts.requests["list"] == 1


def test_bytes_in_both_directions_keep_to_the_rate() -> None:
    clock = FakeClock()
    repository = Paced(MemoryRepository(), Pace(Rates(1000.0), clock))
    for number in range(10):
        repository.put_new(f"sess/{number:010x}", bytes(500))
    assert clock.seconds == 4.5  # the last is owed
    for number in range(10):
        repository.get(f"sess/{number:010x}")
    repository.get_extent("sess/0000000000", 0, 300)
    repository.get_tail("sess/0000000000", 200)
    assert clock.seconds == 10.3
    repository.put_new("rp/0000000001", b"")
    assert clock.seconds == 10.5


def test_the_hour_decides_how_fast() -> None:
    clock = FakeClock()
    night = Hours(20 * 3600, 6 * 3600, None)
    pace = Pace(Rates(100.0, (night,)), clock)
    clock.seconds = 19 * 3600
    for _ in range(3):
        pace.spend(1000)
    assert clock.seconds == 19 * 3600 + 20
    for hour in (20, 23.9, 24, 29.9):
        clock.seconds = hour * 3600
        for _ in range(100):
            pace.spend(10**9)
        assert clock.seconds == hour * 3600
    clock.seconds = 30 * 3600
    pace.spend(1000)
    pace.spend(1000)
    assert clock.seconds == 30 * 3600 + 10
