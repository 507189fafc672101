"""Queued jobs that nobody can ever take: every agent that could was revoked.

Agents that drain count, for they come back. Where none was ever there, somebody is setting things up: the job waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from commserve.faults import NoAgent
from commserve.jobs.states import State
from commserve.store.tables import agents, hypervisor_agents, hypervisors, jobs, pool_agents, pools

_QUEUED = sa.select(jobs).where(jobs.c.state == State.QUEUED)


def stranded(connection: sa.Connection) -> Iterator[tuple[Any, NoAgent]]:
    """Each such job once, with what says who is missing."""
    names = dict(connection.execute(sa.select(agents.c.id, agents.c.name).where(agents.c.state == "revoked")).all())
    if not names:
        return
    seen = set[str]()
    for which, why in _reasons(connection, names):
        for job in connection.execute(_QUEUED.where(which)).all():
            if job.id not in seen:
                seen.add(job.id)
                yield job, NoAgent(why)


def _reasons(connection: sa.Connection, names: dict[str, str]) -> Iterator[tuple[sa.ColumnElement[bool], str]]:
    for agent_id, name in names.items():
        yield jobs.c.wanted_agent_id == agent_id, f"agent {name}, which should do it, is revoked"
    for owner, key, hypervisor, revoked in _revoked_of(connection, hypervisors, hypervisor_agents, names):
        reads = sa.and_(jobs.c.hypervisor_id == key, jobs.c.kind != "restore")
        yield reads, f"{owner} {hypervisor}: every VSA that reaches it is revoked: {revoked}"
    for owner, key, pool, revoked in _revoked_of(connection, pools, pool_agents, names):
        wanted = sa.and_(jobs.c.pool_id == key, jobs.c.wanted_agent_id.is_(None) | (jobs.c.kind == "restore"))
        yield wanted, f"{owner} {pool}: every MediaAgent that keeps it is revoked: {revoked}"
    roles: dict[str, list[str | None]] = {}
    for row in connection.execute(sa.select(agents.c.role, agents.c.id).order_by(agents.c.name)):
        roles.setdefault(row.role, []).append(names.get(row.id))
    for role, found in roles.items():
        if None not in found:
            revoked = ", ".join(map(str, found))
            yield sa.and_(jobs.c.role == role, jobs.c.wanted_agent_id.is_(None)), f"every {role} is revoked: {revoked}"


def _revoked_of(
    connection: sa.Connection, owners: sa.Table, bound: sa.Table, names: dict[str, str]
) -> Iterator[tuple[str, str, str, str]]:
    """Hypervisors or pools all of whose agents are revoked: word, id, name, and the agents' names."""
    word = owners.name.removesuffix("s")
    bound_id = bound.c[f"{word}_id"]
    of = sa.select(owners.c.id, owners.c.name, bound.c.agent_id).join(bound, bound_id == owners.c.id)
    found: dict[tuple[str, str], list[str | None]] = {}
    for row in connection.execute(of.order_by(bound.c.agent_id)):
        found.setdefault((row.id, row.name), []).append(names.get(row.agent_id))
    for (key, name), agent_names in found.items():
        if None not in agent_names:
            yield word, key, name, ", ".join(map(str, agent_names))
