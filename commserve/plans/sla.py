"""The promise, in one formula: met while the newest good point is not older than `sla_minutes`."""

from __future__ import annotations

from datetime import datetime, timedelta

from commserve.plans.promise import Promise


def deadline(promise: Promise, last_point_at: datetime | None, due_at: datetime) -> datetime:
    """When the promise breaks, if no point is made before. A machine without a point counts from its due time on."""
    if not promise.sla_minutes:
        return due_at + timedelta(days=1)
    return (due_at if last_point_at is None else last_point_at) + timedelta(minutes=promise.sla_minutes)


def is_met(promise: Promise, last_point_at: datetime | None, now: datetime) -> bool:
    """Whether the promise holds now."""
    if not promise.sla_minutes:
        return True
    return last_point_at is not None and now - last_point_at <= timedelta(minutes=promise.sla_minutes)
