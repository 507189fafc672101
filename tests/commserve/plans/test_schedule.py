"""When runs are due: time zones, both edges of summer time, clocks that jump, runs that were missed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commserve.plans.hours import bandwidth_at, is_open, next_open
from commserve.plans.promise import Bandwidth, Hours, Schedule
from commserve.plans.schedule import jitter, look, next_due

BERLIN = "Europe/Berlin"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def dues(schedule: Schedule, start: datetime, end: datetime) -> list[str]:
    found = []
    due = next_due(schedule, start)
    while due is not None and due <= end:
        found.append(due.isoformat())
        due = next_due(schedule, due)
    return found


def test_a_time_that_the_clock_skips_is_due_when_the_missing_hour_is_over() -> None:
    schedule = Schedule(cron="30 2 * * *", time_zone=BERLIN)
    assert dues(schedule, at("2026-03-28T12:00+01:00"), at("2026-03-30T12:00+02:00")) == [
        "2026-03-29T01:00:00+00:00",
        "2026-03-30T00:30:00+00:00",
    ]


def test_a_time_that_comes_twice_is_due_once() -> None:
    schedule = Schedule(cron="30 2 * * *", time_zone=BERLIN)
    assert dues(schedule, at("2026-10-24T12:00+02:00"), at("2026-10-26T12:00+01:00")) == [
        "2026-10-25T00:30:00+00:00",
        "2026-10-26T01:30:00+00:00",
    ]


@pytest.mark.parametrize("night", ["2026-03-29", "2026-10-25"])
def test_every_half_hour_is_every_half_hour_also_on_the_nights_of_change(night: str) -> None:
    schedule = Schedule(cron="*/30 * * * *", time_zone=BERLIN)
    start = at(f"{night}T00:00+00:00")
    found = [datetime.fromisoformat(text) for text in dues(schedule, start, start + timedelta(hours=6))]
    assert found == [start + timedelta(minutes=30 * n) for n in range(1, 13)]


def test_a_window_ends_by_the_clock_on_the_wall_on_both_nights_of_change() -> None:
    schedule = Schedule(time_zone=BERLIN, windows=(Hours(start="01:00", end="03:00"),))

    def open_hours(start: datetime) -> float:
        return sum(is_open(schedule, start + timedelta(minutes=n)) for n in range(12 * 60)) / 60

    assert open_hours(at("2026-03-28T22:00+00:00")) == 1  # 02:00 to 03:00 does not come
    assert open_hours(at("2026-10-24T21:00+00:00")) == 3  # and comes twice
    assert open_hours(at("2026-06-01T20:00+00:00")) == 2


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    schedule = Schedule(windows=(Hours(days=("fri",), start="22:00", end="06:00"),))
    assert is_open(schedule, at("2026-11-27T23:00+00:00"))  # a Friday
    assert is_open(schedule, at("2026-11-28T05:59+00:00"))
    assert not is_open(schedule, at("2026-11-28T06:00+00:00"))
    assert not is_open(schedule, at("2026-11-28T23:00+00:00"))
    assert next_open(schedule, at("2026-11-28T23:00+00:00")) == at("2026-12-04T22:00+00:00")


def test_a_blackout_closes_a_window() -> None:
    schedule = Schedule(windows=(Hours(start="20:00", end="23:00"),), blackouts=(Hours(start="21:00", end="22:00"),))
    assert [is_open(schedule, at(f"2026-11-24T{hour}:30+00:00")) for hour in (20, 21, 22)] == [True, False, True]


def test_a_schedule_that_is_never_open_says_so() -> None:
    assert next_open(Schedule(blackouts=(Hours(start="00:00", end="00:00"),)), at("2026-01-01T00:00+00:00")) is None


def test_bandwidth_is_that_of_the_first_hours_that_fit() -> None:
    day = (Bandwidth(start="08:00", end="18:00", bytes_per_second=1000), Bandwidth(bytes_per_second=5000))
    assert bandwidth_at(day, BERLIN, at("2026-11-24T07:30+00:00")) == 1000
    assert bandwidth_at(day, BERLIN, at("2026-11-24T18:30+00:00")) == 5000
    assert bandwidth_at((), BERLIN, at("2026-11-24T18:30+00:00")) == 0


@pytest.mark.parametrize(("missed", "started"), [("once", 1), ("skip", 0)])
def test_runs_missed_for_days_are_skipped_or_made_up_for_once(missed: str, started: int) -> None:
    schedule = Schedule.model_validate({"cron": "0 1 * * *", "missed": missed})
    found = look(schedule, at("2026-01-01T12:00+00:00"), at("2026-01-05T12:00+00:00"))
    assert len(found.due) == started
    assert found.skipped == 4 - started
    assert found.next_due == at("2026-01-06T01:00+00:00")
    if started:
        assert found.due == (at("2026-01-05T01:00+00:00"),)


def test_a_run_on_time_makes_up_for_those_that_were_missed() -> None:
    found = look(Schedule(cron="0 * * * *"), at("2026-01-01T00:00+00:00"), at("2026-01-01T05:01+00:00"))
    assert found.due == (at("2026-01-01T05:00+00:00"),)
    assert found.skipped == 4


def test_a_clock_that_jumped_far_ahead_and_back_leaves_the_schedule_alive() -> None:
    schedule = Schedule(cron="0 1 * * *")
    ahead = look(schedule, at("2026-01-01T12:00+00:00"), at("2031-01-01T12:00+00:00"))
    assert len(ahead.due) == 1
    back = look(schedule, at("2031-01-01T12:00+00:00"), at("2026-01-01T12:01+00:00"))
    assert back.due == ()
    assert back.next_due == at("2026-01-02T01:00+00:00")


@given(st.lists(st.integers(1, 40 * 60), min_size=1, max_size=30), st.sampled_from(["*/7 * * * *", "15 */3 * * *"]))
def test_however_often_one_looks_no_instant_is_due_twice_and_each_is_due_or_skipped(
    minutes: list[int], cron: str
) -> None:
    schedule = Schedule(cron=cron)
    first = moment = at("2026-03-01T00:00+00:00")
    started: list[datetime] = []
    skipped = 0
    for step in minutes:
        found = look(schedule, moment, moment + timedelta(minutes=step))
        moment += timedelta(minutes=step)
        started += found.due
        skipped += found.skipped
        assert found.next_due is not None
        assert found.next_due > moment
    assert len(set(started)) == len(started)
    assert len(started) + skipped == len(dues(schedule, first, moment))


@given(st.text(max_size=20), st.integers(0, 600))
def test_jitter_is_bounded_and_the_same_for_whoever_asks(machine: str, minutes: int) -> None:
    schedule = Schedule(jitter_minutes=minutes)
    due = at("2026-01-01T00:00+00:00")
    found = jitter(schedule, machine, due)
    assert timedelta(0) <= found <= timedelta(minutes=minutes)
    assert found == jitter(schedule, machine, due)


@pytest.mark.parametrize(
    "wrong", [{"cron": "61 * * * *"}, {"cron": "* * *"}, {"time_zone": "Mars/Olympus"}, {"cron": "0 0 30 2 *"}]
)
def test_a_schedule_that_makes_no_sense_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"cron|zone|fields|due"):
        Schedule.model_validate(wrong)
