"""Retention against a slow oracle, its floors, and the times at which it refuses to decide."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commserve.faults import RetentionRefused
from commserve.plans.promise import Retention
from commserve.plans.retention import Point, check, judge

START = datetime(2025, 1, 1, tzinfo=UTC)
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia"])

marks = st.frozensets(st.sampled_from(["protected", "hold", "suspect", "verified"]), max_size=2)
retentions = st.builds(
    Retention,
    last=st.integers(0, 4),
    hourly=st.integers(0, 4),
    daily=st.integers(0, 5),
    weekly=st.integers(0, 4),
    monthly=st.integers(0, 3),
    yearly=st.integers(0, 2),
    floor=st.integers(1, 3),
)


@st.composite
def histories(draw: st.DrawFn) -> list[Point]:
    gaps = draw(st.lists(st.integers(1, 60 * 24 * 20), max_size=30))
    points, moment = [], START
    for number, gap in enumerate(gaps):
        moment += timedelta(minutes=gap)
        points.append(Point(f"{number:010x}", moment, draw(marks)))
    return points


def slow_oracle(points: list[Point], retention: Retention, zone: ZoneInfo) -> set[str]:
    """For each point on its own: the periods of newer sound points, and whether it is the newest of its own period."""
    stay = set()
    sound = [p for p in points if "suspect" not in p.marks]
    formats = {"hourly": "%Y-%m-%d %H %z", "daily": "%Y-%m-%d", "weekly": "%G-%V", "monthly": "%Y-%m", "yearly": "%Y"}
    for point in points:
        if point.marks & {"protected", "hold", "suspect"}:
            stay.add(point.id)
            continue
        newer = [p for p in sound if p.id > point.id]
        if len(newer) < max(retention.last, retention.floor):
            stay.add(point.id)
        if "verified" in point.marks and sum("verified" in p.marks for p in newer) < retention.floor:
            stay.add(point.id)
        for rule, pattern in formats.items():
            mine = point.time.astimezone(zone).strftime(pattern)
            periods = {p.time.astimezone(zone).strftime(pattern) for p in newer}
            if mine not in periods and len(periods) < getattr(retention, rule):
                stay.add(point.id)
    return stay


@given(histories(), retentions, ZONES)
def test_what_stays_is_what_the_slow_oracle_says(points: list[Point], retention: Retention, zone: str) -> None:
    verdict = judge(points, retention, zone)
    assert set(verdict.kept) == slow_oracle(points, retention, ZoneInfo(zone))
    assert set(verdict.kept) | set(verdict.expiring) == {p.id for p in points}
    assert not set(verdict.kept) & set(verdict.expiring)


@given(histories(), retentions, ZONES)
def test_the_newest_sound_point_always_stays(points: list[Point], retention: Retention, zone: str) -> None:
    verdict = judge(points, retention, zone)
    sound = [p for p in points if "suspect" not in p.marks]
    assert all(p.id in verdict.kept for p in sound[-retention.floor :])


@given(histories(), retentions)
def test_expiring_what_may_expire_changes_nothing_for_the_rest(points: list[Point], retention: Retention) -> None:
    verdict = judge(points, retention, "UTC")
    rest = [p for p in points if p.id in verdict.kept]
    assert judge(rest, retention, "UTC").expiring == ()


def day(number: int, *marks: str) -> Point:
    return Point(f"{number:010x}", START + timedelta(days=number), frozenset(marks))


def test_a_present_before_the_newest_point_is_not_believed() -> None:
    with pytest.raises(RetentionRefused, match="before the newest point"):
        check([day(1), day(2)], START)


def test_a_present_long_after_the_newest_point_is_not_believed() -> None:
    points = [day(n) for n in range(5)]
    check(points, START + timedelta(days=6, hours=23))
    with pytest.raises(RetentionRefused, match="three usual intervals"):
        check(points, START + timedelta(days=7, hours=1))


def test_a_mark_that_nobody_knows_refuses() -> None:
    with pytest.raises(RetentionRefused, match="legal"):
        check([day(1, "legal")], START + timedelta(days=1, hours=1))
