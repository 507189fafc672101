"""When runs of a plan are due.

A due instant is in UTC and before jitter, so that two schedulers that look at one plan name the same instants. A cron
time in the hour that a clock skips is due when the hour is over; one in the hour that comes twice is due once (cronsim,
as Debian's cron does it).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim

from commserve.plans.promise import Schedule

ON_TIME = timedelta(minutes=10)  # a scheduler that looks this late still counts as looking
_MOST_MISSED = 10_000  # a plan of every minute, looked at after a week


@dataclass(frozen=True)
class Look:
    """What a look at a schedule found."""

    due: tuple[datetime, ...]  # runs to start now, oldest first
    skipped: int  # instants that were missed
    next_due: datetime | None


def next_due(schedule: Schedule, after: datetime) -> datetime | None:
    """The first due instant after a moment."""
    if not schedule.cron:
        return None
    local = after.astimezone(ZoneInfo(schedule.time_zone))
    found = next(CronSim(schedule.cron, local), None)
    return None if found is None else found.astimezone(UTC)


def look(schedule: Schedule, looked_at: datetime, now: datetime) -> Look:
    """The runs due since the last look, and the next instant.

    Of those older than ON_TIME at most one is started, the newest, and only when the schedule says `missed: once` and
    none on time makes up for it. A clock that went back finds nothing due and looks again from now on: what it
    meets a second time is a run that exists.
    """
    if now < looked_at:
        return Look((), 0, next_due(schedule, now))
    passed: list[datetime] = []
    following = next_due(schedule, looked_at)
    while following is not None and following <= now and len(passed) < _MOST_MISSED:
        passed.append(following)
        following = next_due(schedule, following)
    if len(passed) == _MOST_MISSED:
        following = next_due(schedule, now)
    on_time = [due for due in passed if now - due <= ON_TIME]
    missed = [due for due in passed if now - due > ON_TIME]
    start = on_time[-1:]
    if not start and missed and schedule.missed == "once":
        start = missed[-1:]
    return Look(tuple(start), len(passed) - len(start), following)


def jitter(schedule: Schedule, machine_id: str, due: datetime) -> timedelta:
    """How much later than due this machine's backup may start: the same whoever asks."""
    if not schedule.jitter_minutes:
        return timedelta(0)
    seed = hashlib.sha256(f"{machine_id} {due.astimezone(UTC).isoformat()}".encode()).digest()
    return timedelta(seconds=int.from_bytes(seed[:8], "big") % (schedule.jitter_minutes * 60))
