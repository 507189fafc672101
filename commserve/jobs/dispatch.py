"""Giving queued jobs to agents that ask.

What is queued is read into memory every second, sooner when the bell rang: an order over twenty thousand rows costs
more than a claim. The memory is a hint. What runs is counted, and a job is claimed, in one writing transaction, under
the condition that it is still queued: two agents never get one job.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from commserve.ids import Ids
from commserve.jobs.bell import Bell
from commserve.jobs.kinds import SETTLING, URGENT
from commserve.jobs.lifecycle import Policy, leased
from commserve.jobs.order import Asking, Candidate, Limit, Running, choose, keys_of
from commserve.jobs.states import LEASED, State
from commserve.moments import present
from commserve.plans.hours import is_open
from commserve.plans.promise import Promise
from commserve.store.engine import Store
from commserve.store.tables import agents, hypervisor_agents, hypervisors, jobs, leases, plans, pool_agents
from runtime.clock import Clock

_LOOK_SECONDS = 1.0
_RUNG_SECONDS = 0.2  # the least between two looks, however often it rings
_PER_GROUP = 64  # of each plan on each hypervisor, so many are in memory; first backups apart, and pinned ones
_SETTLE = "settle"


@dataclass
class Backlog:
    """What was queued for a role, and what decides about it."""

    read_at: float
    rings: int
    queued: dict[str, Candidate]
    plans: dict[str, Limit]
    hypervisors: dict[str, Limit]
    bound: dict[str, frozenset[str]] = field(default_factory=dict)  # hypervisor -> its agents; none: any
    served: dict[str, frozenset[str]] = field(default_factory=dict)  # agent -> its pools
    active: frozenset[str] = frozenset()  # agents of the role
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
        if not self._choose(backlog, agent, free_slots, Running(Counter()), 0, now):
            return []  # without what runs, more would fit: nothing fits at all
        with self._store.writing() as connection:
            running, held = _running(connection, agent.id)
            chosen = self._choose(backlog, agent, free_slots, running, held, now)
            claimed = [self._claim(connection, job, agent, boot_id, now) for job in chosen]
        for job in chosen:
            backlog.queued.pop(job.id)
            backlog.used += 1
        return [row for row in claimed if row is not None]

    def _choose(
        self, backlog: Backlog, agent: Any, free_slots: int, running: Running, held: int, now: datetime
    ) -> list[Candidate]:
        reached = {key for key, bound in backlog.bound.items() if not bound or agent.id in bound}
        pools = backlog.served.get(agent.id, frozenset()) if agent.role == SETTLING else None
        others = backlog.active - {agent.id}
        asking = Asking(agent.id, free_slots, held, frozenset(reached), pools, others)
        return choose(backlog.queued.values(), asking, running, backlog.plans, backlog.hypervisors, now)

    def _claim(self, connection: sa.Connection, job: Candidate, agent: Any, boot_id: str, now: datetime) -> Any | None:
        """The row as claimed; None when it is not queued any more."""
        free = sa.and_(jobs.c.id == job.id, jobs.c.assignment_id.is_(None), jobs.c.role == agent.role)
        row = connection.execute(sa.select(jobs).where(free)).one_or_none()
        if row is None or row.state not in (State.QUEUED, State.COMMITTING):
            return None
        changes = leased(row, agent.id, boot_id, self._ids.new(now), now, self._policy)
        claim = sa.update(jobs).where(free, jobs.c.state == row.state, jobs.c.fence == row.fence)
        claimed = connection.execute(claim.values(**changes).returning(jobs)).one_or_none()
        if claimed is not None:
            lease = {"job_id": claimed.id, "fence": claimed.fence, "agent_id": agent.id, "agent_name": agent.name}
            connection.execute(sa.insert(leases).values(**lease, leased_at=now))
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
        partition_by=(jobs.c.plan_id, jobs.c.hypervisor_id, jobs.c.first, jobs.c.wanted_agent_id),
        order_by=(jobs.c.urgency, jobs.c.deadline_at, jobs.c.id),
    )
    waiting = sa.and_(
        jobs.c.state.in_([State.QUEUED, State.COMMITTING]),
        jobs.c.role == role,
        jobs.c.assignment_id.is_(None),
        jobs.c.not_before_at <= now,
    )
    names = [name for name in Candidate.__dataclass_fields__ if name != "avoided"]
    columns = [jobs.c[name] for name in names]
    ranked = sa.select(*columns, jobs.c.avoided, jobs.c.state, place.label("place")).where(waiting).subquery()
    rows = connection.execute(sa.select(ranked).where(ranked.c.place <= _PER_GROUP))
    queued = {}
    for row in rows:
        values = {name: getattr(row, name) for name in names}
        if row.state == State.COMMITTING:
            values |= {"kind": _SETTLE, "urgency": URGENT, "hypervisor_id": None}  # a MediaAgent reaches none
        queued[row.id] = Candidate(**values, avoided=frozenset(row.avoided))
    plan_limits = {
        row.id: _limit(Promise.model_validate(row.promise), now)
        for row in connection.execute(sa.select(plans.c.id, plans.c.promise))
    }
    bound: dict[str, set[str]] = {}
    hypervisor_limits = {}
    for row in connection.execute(sa.select(hypervisors.c.id, hypervisors.c.concurrency)):
        bound[row.id] = set()
        hypervisor_limits[row.id] = Limit(jobs=row.concurrency)
    for row in connection.execute(sa.select(hypervisor_agents)):
        bound[row.hypervisor_id].add(row.agent_id)
    served: dict[str, set[str]] = {}
    for row in connection.execute(sa.select(pool_agents)):
        served.setdefault(row.agent_id, set()).add(row.pool_id)
    active = sa.select(agents.c.id).where(agents.c.role == role, agents.c.state == "active")
    return Backlog(
        monotonic,
        rings,
        queued,
        plan_limits,
        hypervisor_limits,
        {key: frozenset(found) for key, found in bound.items()},
        {key: frozenset(found) for key, found in served.items()},
        frozenset(connection.execute(active).scalars()),
    )


def _limit(promise: Promise, now: datetime) -> Limit:
    limits = promise.limits
    return Limit(limits.jobs, limits.jobs_per_hypervisor, limits.first_backups, is_open(promise.schedule, now))


def _running(connection: sa.Connection, agent_id: str) -> tuple[Running, int]:
    """What runs, under each limit, and how much of it at this agent."""
    columns = (jobs.c.kind, jobs.c.plan_id, jobs.c.hypervisor_id, jobs.c.first, jobs.c.agent_id)
    counted = sa.select(*columns, sa.func.count().label("many")).where(jobs.c.state.in_(LEASED)).group_by(*columns)
    counts: Counter[tuple[str, ...]] = Counter()
    held = 0
    for row in connection.execute(counted):
        like = Candidate("", row.kind, 0, datetime.min, datetime.min, row.plan_id, row.hypervisor_id, first=row.first)
        for key in keys_of(like):
            counts[key] += row.many
        held += row.many if row.agent_id == agent_id else 0
    return Running(counts), held
