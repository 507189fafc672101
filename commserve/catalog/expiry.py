"""From retention to marks: which points of a pool a MediaAgent is asked to expire. No VSA ever is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from commserve.faults import RetentionRefused
from commserve.ids import Ids
from commserve.jobs.backlog import submit
from commserve.jobs.kinds import Wanted
from commserve.plans.promise import Promise
from commserve.plans.retention import Point, check, judge
from commserve.store.tables import machines, plans, points, pools

_MOST_POINTS = 1000  # of one job


@dataclass(frozen=True)
class Decision:
    """`refused` says why nothing expires, by machine."""

    expiring: tuple[str, ...]
    refused: dict[str, str]


def decide(connection: sa.Connection, pool_id: str, now: datetime) -> Decision:
    """What retention lets go in a pool: of machines that have a plan, by the plan that they have now.

    A machine that is gone or has no plan keeps its points until somebody says otherwise.
    """
    expiring: list[str] = []
    refused: dict[str, str] = {}
    promises = {row.id: Promise.model_validate(row.promise) for row in connection.execute(sa.select(plans))}
    for machine_id, plan_id, found in _histories(connection, pool_id):
        promise = promises[plan_id]
        verdict = judge(found, promise.retention, promise.schedule.time_zone)
        if not verdict.expiring:
            continue
        try:
            check(found, now)
        except RetentionRefused as fault:
            refused[machine_id] = str(fault)
        else:
            expiring += verdict.expiring
    return Decision(tuple(sorted(expiring)), refused)


def _histories(connection: sa.Connection, pool_id: str) -> list[tuple[str, str, list[Point]]]:
    kept = (
        sa.select(points, machines.c.plan_id)
        .join(machines, machines.c.id == points.c.machine_id)
        .join(plans, plans.c.id == machines.c.plan_id)
        .where(points.c.pool_id == pool_id, points.c.expired.is_(False), plans.c.pool_id == pool_id)
        .order_by(points.c.machine_id, points.c.id)
    )
    found: dict[str, tuple[str, list[Point]]] = {}
    for row in connection.execute(kept):
        history = found.setdefault(row.machine_id, (row.plan_id, []))
        history[1].append(Point(row.id, row.time, frozenset(row.marks)))
    return [(machine_id, plan_id, history) for machine_id, (plan_id, history) in found.items()]


def expire_by_retention(connection: sa.Connection, ids: Ids, pool: Any, now: datetime) -> Decision:
    """Decide, and make the job where something expires. Only on a catalog that was read since the last day."""
    if pool.read_at is None or now - pool.read_at > timedelta(days=1):
        return Decision((), {})
    decision = decide(connection, pool.id, now)
    if decision.expiring:
        submit(connection, ids, [wanted(pool.id, decision.expiring[:_MOST_POINTS], "retention", now)], now)
    return decision


def wanted(pool_id: str, point_ids: tuple[str, ...], who: str, now: datetime) -> Wanted:
    """The job that expires these points."""
    return Wanted(
        kind="expire",
        subject=f"expire:{pool_id}",
        due_at=now,
        deadline_at=now + timedelta(days=1),
        requested_by=who,
        pool_id=pool_id,
        arguments={"points": list(point_ids), "who": who},
    )


def ready_pools(connection: sa.Connection) -> list[Any]:
    """Those that have a repository."""
    return list(connection.execute(sa.select(pools).where(pools.c.state == "ready").order_by(pools.c.id)))
