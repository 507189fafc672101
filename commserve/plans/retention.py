"""Which recovery points of one machine stay, and why: a pure function.

Each rule (`daily: 7`) keeps the newest point of each of the last N periods that have a point, apart from the other
rules. A point is kept for every reason that holds; one with no reason may expire. Points with a mark that somebody put
(`protected`, `hold`) stay; so do suspect ones, which somebody should look at, and which count for no rule.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from commserve.faults import RetentionRefused
from commserve.plans.promise import Retention

KNOWN_MARKS = frozenset({"protected", "hold", "suspect", "verified", "plan"})
_KEEPING_MARKS = ("protected", "hold", "suspect")
_LATE_INTERVALS = 3
_SHORTEST_USUAL = timedelta(hours=1)
_RECENT_POINTS = 10


@dataclass(frozen=True)
class Point:
    """What retention looks at. Ids sort by age: they are session numbers."""

    id: str
    time: datetime
    marks: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Verdict:
    """`kept` gives the reasons by id; `expiring` is oldest first."""

    kept: dict[str, tuple[str, ...]]
    expiring: tuple[str, ...]


_PERIODS: tuple[tuple[str, Callable[[datetime], object]], ...] = (
    ("hourly", lambda time: (time.date(), time.hour, time.utcoffset())),
    ("daily", lambda time: time.date()),
    ("weekly", lambda time: time.isocalendar()[:2]),
    ("monthly", lambda time: (time.year, time.month)),
    ("yearly", lambda time: time.year),
)


def judge(points: Sequence[Point], retention: Retention, time_zone: str) -> Verdict:
    """What stays of one machine's unexpired points in one pool. Never says that all may go."""
    newest_first = sorted(points, key=lambda point: point.id, reverse=True)
    reasons: dict[str, list[str]] = {point.id: [] for point in newest_first}
    for point in newest_first:
        reasons[point.id] += [mark for mark in _KEEPING_MARKS if mark in point.marks]
    sound = [point for point in newest_first if "suspect" not in point.marks]
    for point in sound[: retention.last]:
        reasons[point.id].append("last")
    zone = ZoneInfo(time_zone)
    for rule, period in _PERIODS:
        seen: set[object] = set()
        for point in sound:
            if len(seen) == getattr(retention, rule):
                break
            this = period(point.time.astimezone(zone))
            if this not in seen:
                seen.add(this)
                reasons[point.id].append(rule)
    for floor in (sound, [point for point in sound if "verified" in point.marks]):
        for point in floor[: retention.floor]:
            if "floor" not in reasons[point.id]:
                reasons[point.id].append("floor")
    return Verdict(
        kept={point_id: tuple(why) for point_id, why in reasons.items() if why},
        expiring=tuple(point.id for point in reversed(newest_first) if not reasons[point.id]),
    )


def check(points: Sequence[Point], now: datetime) -> None:
    """Raises RetentionRefused when the present cannot be believed, or a mark is not understood.

    A person's word overrides it: somebody then looked.
    """
    for point in points:
        unknown = point.marks - KNOWN_MARKS
        if unknown:
            raise RetentionRefused(f"point {point.id}: mark {min(unknown)!r} is not one that this build knows")
    if not points:
        return
    newest = max(point.time for point in points)
    if now < newest:
        raise RetentionRefused(f"now is {now.isoformat()}, before the newest point of {newest.isoformat()}")
    usual = usual_interval(points)
    if now - newest > _LATE_INTERVALS * usual:
        raise RetentionRefused(
            f"now is {now.isoformat()}, more than three usual intervals ({usual}) after the newest point of "
            f"{newest.isoformat()}"
        )


def usual_interval(points: Sequence[Point]) -> timedelta:
    """The median of the gaps between the newest points, an hour at least; a year where there are too few to tell."""
    times = sorted(point.time for point in points)[-_RECENT_POINTS:]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    return max(_SHORTEST_USUAL, sorted(gaps)[len(gaps) // 2]) if gaps else timedelta(days=366)
