"""What the end of a job means for everything else."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from commserve.catalog import points
from commserve.jobs.states import GOOD, State
from commserve.store.inserting import put
from commserve.store.tables import machines, pool_agents, pools


def ended(connection: sa.Connection, job: Any, _now: datetime) -> None:
    """Called once for each job, in the transaction that ends it."""
    good = job.state in GOOD
    if job.kind == "backup":
        _backed_up(connection, job, good=good)
    elif job.kind == "expire" and good:
        points.expire(connection, job.pool_id, job.result.get("expired", job.arguments["points"]))
    elif job.kind == "clean" and job.state == State.DONE:  # with a warning something may be left: the next look says
        connection.execute(sa.update(machines).where(machines.c.id == job.machine_id).values(leftovers={}))
    elif job.kind == "create_pool":
        _pool_made(connection, job, good=good)


def _backed_up(connection: sa.Connection, job: Any, *, good: bool) -> None:
    of_machine = sa.update(machines).where(machines.c.id == job.machine_id)
    if good:
        points.add(connection, job)
        connection.execute(of_machine.values(strikes=0))
    elif job.state == State.FAILED:
        connection.execute(of_machine.values(strikes=machines.c.strikes + 1))


def _pool_made(connection: sa.Connection, job: Any, *, good: bool) -> None:
    made = sa.update(pools).where(pools.c.id == job.pool_id)
    repository_id = job.result.get("pool")
    same = sa.select(pools.c.name).where(pools.c.repository_id == repository_id, pools.c.id != job.pool_id)
    known = connection.execute(same).scalar() if repository_id else None
    if good and repository_id and known is None:
        connection.execute(made.values(state="ready", reason="", repository_id=repository_id))
        put(connection, pool_agents, {"pool_id": job.pool_id, "agent_id": job.agent_id})
        return
    reason = job.fault_message or "the agent did not say which repository it made"
    if known is not None:
        reason = f"that repository is pool {known} already"
    connection.execute(made.values(state="failed", reason=reason))
