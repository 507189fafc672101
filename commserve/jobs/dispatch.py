"""Giving queued jobs to agents that ask.

What is queued is read into memory every second, sooner when the bell rang: an order over twenty thousand rows costs
more than a claim. The memory is a hint. What runs is counted, and a job is claimed, in one writing transaction, under
the condition that it is still queued: two agents never get one job.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from commserve.ids import Ids
from commserve.jobs.bell import Bell
from commserve.jobs.bounds import limit_of
from commserve.jobs.kinds import LASTING, SETTLE, SETTLING, URGENT
from commserve.jobs.lifecycle import LEASE_COLUMNS, Policy, leased
from commserve.jobs.order import Asking, Candidate, Limit, Running, any_for, choose, keys_of, places_of
from commserve.jobs.states import LEASED, State
from commserve.moments import present
from commserve.plans.hours import is_open
from commserve.plans.promise import Promise
from commserve.store.engine import Store
from commserve.store.tables import agents, hypervisor_agents, hypervisors, jobs, leases, machines, plans, pool_agents
from runtime.clock import Clock

_LOOK_SECONDS = 1.0
_RUNG_SECONDS = 0.2  # the least between two looks, however often it rings
_PER_GROUP = 64  # of each plan on each hypervisor, so many are in memory; first backups apart, and pinned ones

# built once: a statement costs more to put together than to run
_COLUMNS = (jobs.c.kind, jobs.c.plan_id, jobs.c.hypervisor_id, jobs.c.first, jobs.c.agent_id)
_PLACES = (machines.c.host, machines.c.datastores, machines.c.disks)
_PLACED = (
    sa.select(jobs.c.kind, jobs.c.hypervisor_id, *_PLACES)
    .join(machines, machines.c.id == jobs.c.machine_id)
    .where(jobs.c.state.in_(sorted(LEASED)), jobs.c.kind == "backup")
)
_COUNTED = (
    sa.select(*_COLUMNS, sa.func.count().label("many")).where(jobs.c.state.in_(sorted(LEASED))).group_by(*_COLUMNS)
)
_CLAIM = (
    sa.update(jobs)
    .where(
        jobs.c.id == sa.bindparam("seen_id"),
        jobs.c.state == sa.bindparam("seen_state"),
        jobs.c.fence == sa.bindparam("seen_fence"),
        jobs.c.role == sa.bindparam("seen_role"),
        jobs.c.assignment_id.is_(None),
    )
    .values({name: sa.bindparam(name) for name in LEASE_COLUMNS})
    .returning(jobs)
)
_LEASE = sa.insert(leases)


@dataclass
class Backlog:
    """What was queued for a role, and what decides about it."""

    read_at: float
    rings: int
    queued: dict[str, Candidate]
    rows: dict[str, Any]  # of the same jobs, as they were read
    plans: dict[str, Limit]
    hypervisors: dict[str, Limit]
    bound: dict[str, frozenset[str]] = field(default_factory=dict)  # hypervisor -> its agents; none: any
    served: dict[str, frozenset[str]] = field(default_factory=dict)  # agent -> its pools
    able: dict[str, frozenset[str]] = field(default_factory=dict)  # kind of work -> active agents that know it
    used: int = 0  # how many were taken out since


class Dispatch:
    """One of a process. Threads share it."""

    def __init__(self, store: Store, clock: Clock, ids: Ids, bell: Bell, policy: Policy) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._bell = bell
        self._policy = policy
        self._lock = threading.Lock()
        self._backlogs: dict[str, Backlog] = {}

    def lease(self, agent: Any, boot_id: str, free_slots: int) -> list[Any]:
        """Jobs for an agent (a row), claimed: rows as they are now. Empty when there is nothing for it."""
        if agent.state != "active" or free_slots <= 0:
            return []
        with self._lock:
            claimed: list[Any] = []
            while len(claimed) < free_slots:
                backlog = self._backlog(agent.role)
                more = self._lease(backlog, agent, boot_id, free_slots - len(claimed))
                claimed += more
                if len(claimed) == free_slots or not backlog.used:
                    break
                self._backlogs.pop(agent.role)  # there may be more where those came from
            return claimed

    def _lease(self, backlog: Backlog, agent: Any, boot_id: str, free_slots: int) -> list[Any]:
        now = present(self._clock)
        reached = {key for key, bound in backlog.bound.items() if not bound or agent.id in bound}
        pools = backlog.served.get(agent.id, frozenset()) if agent.role == SETTLING else None
        kinds = frozenset(agent.capabilities)
        others = {kind: able - {agent.id} for kind, able in backlog.able.items()}
        asking = Asking(agent.id, kinds, free_slots, 0, frozenset(reached), pools, others)
        if not any_for(backlog.queued.values(), asking, now):
            return []
        with self._store.writing() as connection:
            running, held = _running(connection, agent.id)
            asking = dataclasses.replace(asking, running=held)
            chosen = choose(backlog.queued.values(), asking, running, backlog.plans, backlog.hypervisors, now)
            rows = [backlog.rows[job.id] for job in chosen]
            claimed = [self._claim(connection, row, agent, boot_id, now) for row in rows]
        for job in chosen:
            backlog.queued.pop(job.id)
            backlog.used += 1
        return [row for row in claimed if row is not None]

    def _claim(self, connection: sa.Connection, row: Any, agent: Any, boot_id: str, now: datetime) -> Any | None:
        """The row as claimed; None when it is not the one any more that was read."""
        changes = leased(row, agent.id, boot_id, self._ids.new(now), now, self._policy)
        seen = {"seen_id": row.id, "seen_state": row.state, "seen_fence": row.fence, "seen_role": row.role}
        claimed = connection.execute(_CLAIM, {**changes, **seen}).one_or_none()
        if claimed is not None:
            lease = {"job_id": claimed.id, "fence": claimed.fence, "agent_id": agent.id, "agent_name": agent.name}
            connection.execute(_LEASE, {**lease, "leased_at": now})
        return claimed

    def _backlog(self, role: str) -> Backlog:
        known = self._backlogs.get(role)
        monotonic = self._clock.monotonic_seconds()
        rings = self._bell.rings
        lasts = _LOOK_SECONDS if known is not None and known.rings == rings else _RUNG_SECONDS
        if known is not None and 0 <= monotonic - known.read_at < lasts:
            return known
        with self._store.reading() as connection:
            read = _read(connection, role, monotonic, rings, present(self._clock))
        self._backlogs[role] = read
        return read


def _read(connection: sa.Connection, role: str, monotonic: float, rings: int, now: datetime) -> Backlog:
    place = sa.func.row_number().over(
        partition_by=(jobs.c.plan_id, jobs.c.hypervisor_id, jobs.c.first, jobs.c.wanted_agent_id, machines.c.host),
        order_by=(jobs.c.urgency, jobs.c.deadline_at, jobs.c.id),
    )
    waiting = sa.and_(
        jobs.c.state.in_([State.QUEUED, State.COMMITTING]),
        jobs.c.role == role,
        jobs.c.assignment_id.is_(None),
        jobs.c.not_before_at <= now,
    )
    at_machine = machines.c.id == jobs.c.machine_id
    ranked = sa.select(jobs.c.id, place.label("place")).outerjoin(machines, at_machine).where(waiting).subquery()
    first = (
        sa.select(jobs, *_PLACES)
        .join(ranked, ranked.c.id == jobs.c.id)
        .outerjoin(machines, at_machine)
        .where(ranked.c.place <= _PER_GROUP)
    )
    rows = {row.id: row for row in connection.execute(first)}
    names = [name for name in Candidate.__dataclass_fields__ if name not in ("avoided", "host", "datastores", "disks")]
    queued = {}
    for row in rows.values():
        values = {name: getattr(row, name) for name in names} | _place(row)
        if row.state == State.COMMITTING:
            values |= {"kind": SETTLE, "urgency": URGENT, "hypervisor_id": None}  # a MediaAgent reaches none
        queued[row.id] = Candidate(**values, avoided=frozenset(row.avoided))
    plan_limits = {
        row.id: _limit(Promise.model_validate(row.promise), now)
        for row in connection.execute(sa.select(plans.c.id, plans.c.promise))
    }
    bound: dict[str, set[str]] = {}
    hypervisor_limits = {}
    for row in connection.execute(sa.select(hypervisors)):
        bound[row.id] = set()
        hypervisor_limits[row.id] = limit_of(row)
    for row in connection.execute(sa.select(hypervisor_agents)):
        bound[row.hypervisor_id].add(row.agent_id)
    served: dict[str, set[str]] = {}
    for row in connection.execute(sa.select(pool_agents)):
        served.setdefault(row.agent_id, set()).add(row.pool_id)
    able: dict[str, set[str]] = {}
    active = sa.select(agents.c.id, agents.c.capabilities).where(agents.c.role == role, agents.c.state == "active")
    for row in connection.execute(active):
        for kind in row.capabilities:
            able.setdefault(kind, set()).add(row.id)
    return Backlog(
        monotonic,
        rings,
        queued,
        rows,
        plan_limits,
        hypervisor_limits,
        {key: frozenset(found) for key, found in bound.items()},
        {key: frozenset(found) for key, found in served.items()},
        {kind: frozenset(found) for kind, found in able.items()},
    )


def _limit(promise: Promise, now: datetime) -> Limit:
    limits = promise.limits
    return Limit(limits.jobs, limits.jobs_per_hypervisor, limits.first_backups, is_open(promise.schedule, now))


def _running(connection: sa.Connection, agent_id: str) -> tuple[Running, int]:
    """What runs, under each limit, and how much of it at this agent."""
    counts: Counter[tuple[str, ...]] = Counter()
    held = 0
    for row in connection.execute(_COUNTED):
        like = Candidate("", row.kind, 0, datetime.min, datetime.min, row.plan_id, row.hypervisor_id, first=row.first)
        for key in keys_of(like):
            counts[key] += row.many
        held += row.many if row.agent_id == agent_id and row.kind not in LASTING else 0
    for row in connection.execute(_PLACED):
        here = Candidate("", row.kind, 0, datetime.min, datetime.min, None, row.hypervisor_id, **_place(row))
        counts.update(places_of(here))
    return Running(counts), held


def _place(row: Any) -> dict[str, Any]:
    """Where the machine of a job is; of one that is not known any more, nothing."""
    return {
        "host": row.host or "",
        "datastores": tuple(row.datastores or ()),
        "disks": sum(not disk.get("reason") for disk in row.disks or ()),
    }
