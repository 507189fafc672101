"""Parts of the week in a time zone: is a moment inside, and when does the next one begin?

Local time decides, as people read a clock. On the night the clock goes back, an hour between 02:00 and 03:00 is open
twice; on the night it goes forward, a window inside the missing hour does not come.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from commserve.plans.promise import ALL_DAYS, Bandwidth, Hours, Schedule

_DAY_MINUTES = 24 * 60
_LOOK_AHEAD_MINUTES = 15 * _DAY_MINUTES


def minute_of_day(text: str) -> int:
    """Of `HH:MM`; 24:00 is the end of the day."""
    return int(text[:2]) * 60 + int(text[3:])


def covers(hours: Hours, local: datetime) -> bool:
    """Whether a local time lies in this part of the week; the end does not belong to it."""
    start, end = minute_of_day(hours.start), minute_of_day(hours.end)
    minute = local.hour * 60 + local.minute
    today, yesterday = ALL_DAYS[local.weekday()], ALL_DAYS[local.weekday() - 1]
    if start < end:
        return today in hours.days and start <= minute < end
    return (today in hours.days and minute >= start) or (yesterday in hours.days and minute < end)


def is_open(schedule: Schedule, moment: datetime) -> bool:
    """Whether backups may start at this moment."""
    local = moment.astimezone(ZoneInfo(schedule.time_zone))
    inside = not schedule.windows or any(covers(hours, local) for hours in schedule.windows)
    return inside and not any(covers(hours, local) for hours in schedule.blackouts)


def next_open(schedule: Schedule, moment: datetime) -> datetime | None:
    """The first minute from `moment` on at which backups may start; None when there is none in two weeks."""
    if is_open(schedule, moment):
        return moment
    minute = moment.astimezone(UTC).replace(second=0, microsecond=0)
    for ahead in range(1, _LOOK_AHEAD_MINUTES):
        if is_open(schedule, minute + timedelta(minutes=ahead)):
            return minute + timedelta(minutes=ahead)
    return None


def bandwidth_at(bandwidth: Sequence[Bandwidth], time_zone: str, moment: datetime) -> int:
    """Bytes per second that count at this moment; 0 is no limit."""
    local = moment.astimezone(ZoneInfo(time_zone))
    return next((hours.bytes_per_second for hours in bandwidth if covers(hours, local)), 0)
