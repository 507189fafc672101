"""The limits that hold now, over the jobs that run now."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa

from commserve.jobs.rates import Stream, divide
from commserve.jobs.states import LEASED
from commserve.plans.hours import bandwidth_at
from commserve.plans.promise import Promise
from commserve.store.tables import agents, jobs, plans, pools

_MOVING = ("backup", "restore")


def rates(connection: sa.Connection, now: datetime) -> dict[str, int]:
    """Bytes per second by job id, for every job that moves data; 0 is no limit."""
    columns = (jobs.c.id, jobs.c.kind, jobs.c.streams, jobs.c.plan_id, jobs.c.pool_id, jobs.c.agent_id)
    moving = sa.select(*columns).where(jobs.c.state.in_(LEASED), jobs.c.kind.in_(_MOVING))
    streams = []
    for row in connection.execute(moving):
        under = [f"agent:{row.agent_id}", f"pool:{row.pool_id}"]
        if row.kind == "backup":
            under.append(f"plan:{row.plan_id}")
        streams.append(Stream(row.id, row.streams, tuple(under)))
    plan_ids = {name.removeprefix("plan:") for stream in streams for name in stream.under if name.startswith("plan:")}
    return divide(streams, _limits(connection, plan_ids, now)) if streams else {}


def _limits(connection: sa.Connection, plan_ids: Iterable[str], now: datetime) -> dict[str, int]:
    limits: dict[str, int] = {}
    for table, name in ((agents, "agent"), (pools, "pool")):
        found = sa.select(table.c.id, table.c.bytes_per_second).where(table.c.bytes_per_second > 0)
        limits |= {f"{name}:{row.id}": row.bytes_per_second for row in connection.execute(found)}
    for row in connection.execute(sa.select(plans.c.id, plans.c.promise).where(plans.c.id.in_(plan_ids))):
        promise = Promise.model_validate(row.promise)
        limits[f"plan:{row.id}"] = bandwidth_at(promise.limits.bandwidth, promise.schedule.time_zone, now)
    return limits
