"""How jobs come to be: from a plan that is due, and from people who ask."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from commserve.faults import JobActive
from commserve.ids import Ids
from commserve.jobs.kinds import ROLE, URGENT, USUAL, Wanted
from commserve.jobs.states import ACTIVE, GOOD, State
from commserve.plans.promise import Promise
from commserve.plans.schedule import jitter
from commserve.plans.sla import deadline
from commserve.store.inserting import insert_new
from commserve.store.tables import jobs, machines, runs
from runtime import trace

_STRIKE_WAIT = timedelta(minutes=5)
_MOST_STRIKES = 6


def submit(connection: sa.Connection, ids: Ids, wanted: Sequence[Wanted], now: datetime) -> list[str]:
    """Make jobs; those whose subject has an active one already coalesce with it and are left out."""
    rows = []
    for job in wanted:
        row = {name: getattr(job, name) for name in Wanted.__dataclass_fields__ if name != "due_at"}
        row["not_before_at"] = job.not_before_at or now
        made = {"id": ids.new(now), "role": ROLE[job.kind], "trace": trace.current() or ids.trace()}
        rows.append({**row, **made, "created_at": now, "queued_at": now})
    return insert_new(connection, jobs, rows)


def submit_one(connection: sa.Connection, ids: Ids, wanted: Wanted, now: datetime) -> str:
    """Make one job. Raises JobActive with the id of the one that is in its way."""
    made = submit(connection, ids, [wanted], now)
    if made:
        return made[0]
    in_the_way = sa.select(jobs.c.id).where(jobs.c.subject == wanted.subject, jobs.c.state.in_(ACTIVE))
    raise JobActive(f"{wanted.subject}: job {connection.execute(in_the_way).scalar_one()} does this already")


def start_run(
    connection: sa.Connection, ids: Ids, plan: Any, due_at: datetime, now: datetime, requested_by: str = ""
) -> str | None:
    """A run of a plan over its machines; None when the run of this instant exists. At most one job a machine."""
    run_id = ids.new(now)
    if not insert_new(connection, runs, [{"id": run_id, "plan_id": plan.id, "due_at": due_at, "created_at": now}]):
        return None
    promise = Promise.model_validate(plan.promise)
    wanted = [
        backup_of(machine, plan, promise, due_at, now, run_id=run_id, requested_by=requested_by)
        for machine in connection.execute(protected(plan.id, now))
    ]
    made = submit(connection, ids, wanted, now)
    ended = {} if made else {"state": "EMPTY", "ended_at": now}
    connection.execute(sa.update(runs).where(runs.c.id == run_id).values(coalesced=len(wanted) - len(made), **ended))
    return run_id


def protected(plan_id: str, now: datetime) -> sa.Select[Any]:
    """The machines that a run of the plan backs up: none that a restore is making or overwriting just now."""
    restoring = sa.select(jobs.c.subject).where(jobs.c.kind == "restore", jobs.c.state.in_(ACTIVE))
    here = "restore:" + machines.c.hypervisor_id + ":"
    still = sa.and_((here + machines.c.name).notin_(restoring), (here + machines.c.id).notin_(restoring))
    included = sa.or_(machines.c.excluded_until.is_(None), machines.c.excluded_until <= now)
    there = sa.and_(
        machines.c.plan_id == plan_id, machines.c.gone_at.is_(None), machines.c.protectable, included, still
    )
    return sa.select(machines).where(there).order_by(machines.c.id)


def backup_of(
    machine: Any,
    plan: Any,
    promise: Promise,
    due_at: datetime,
    now: datetime,
    *,
    run_id: str | None = None,
    requested_by: str = "",
) -> Wanted:
    """A backup of one machine. One that somebody asks for neither jitters nor waits for its machine's strikes."""
    wait = timedelta(0)
    if not requested_by:
        wait = jitter(promise.schedule, machine.id, due_at) + _STRIKE_WAIT * min(machine.strikes, _MOST_STRIKES)
    return Wanted(
        kind="backup",
        subject=f"machine:{machine.id}",
        due_at=due_at,
        deadline_at=deadline(promise, machine.last_point_at, due_at),
        requested_by=requested_by,
        urgency=URGENT if requested_by else USUAL,
        not_before_at=max(now, due_at + wait),
        run_id=run_id,
        plan_id=plan.id,
        rule_id=machine.rule_id,
        hypervisor_id=machine.hypervisor_id,
        pool_id=plan.pool_id,
        machine_id=machine.id,
        machine_name=machine.name,
        first=machine.last_point_at is None,
        streams=max(1, promise.limits.streams),
        attempts_allowed=promise.limits.attempts,
        arguments={
            "parent": "auto",
            "level": promise.level,
            "streams": promise.limits.streams,
            "hold": promise.hold.model_dump(mode="json"),
        },
    )


def close_run(connection: sa.Connection, run_id: str, now: datetime) -> None:
    """Say how a run went, once all of its jobs ended."""
    active = sa.select(jobs.c.id).where(jobs.c.run_id == run_id, jobs.c.state.in_(ACTIVE)).limit(1)
    if connection.execute(active).first() is not None:
        return
    states = sa.select(jobs.c.state, sa.func.count()).where(jobs.c.run_id == run_id).group_by(jobs.c.state)
    counts = {State(state): count for state, count in connection.execute(states)}
    good = sum(count for state, count in counts.items() if state in GOOD)
    bad = sum(counts.values()) - good
    state = "DONE" if not bad else "PARTIAL" if good else "FAILED"
    connection.execute(sa.update(runs).where(runs.c.id == run_id).values(state=state, ended_at=now))
