"""Agents as they come and go: what they register, and when they were heard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from commserve.faults import RequestInvalid
from commserve.ids import Ids
from commserve.store.inserting import put
from commserve.store.tables import agents, pool_agents, pools

_TROUBLES, _TROUBLE_CHARS = 10, 1000  # an agent may be hostile


@dataclass(frozen=True)
class PoolSeen:
    """A pool that a MediaAgent keeps."""

    repository_id: str
    name: str
    url: str


@dataclass(frozen=True)
class Registration:
    """What an agent says of itself at its start."""

    version: str
    boot_id: str
    host: str
    capabilities: Sequence[str]
    addresses: Sequence[str]
    sealing_key: bytes
    pools: Sequence[PoolSeen] = ()


def register(connection: sa.Connection, ids: Ids, agent: Any, said: Registration, now: datetime) -> None:
    """An agent began: it is active from now on, unless somebody had it drained.

    A pool that a MediaAgent does not name stays its own: it may be one that cannot be opened just now.
    """
    values: dict[str, Any] = {
        "state": "active" if agent.state == "joined" else agent.state,
        "version": said.version,
        "boot_id": said.boot_id,
        "host": said.host,
        "capabilities": list(said.capabilities),
        "seen_at": now,
    }
    if said.addresses:  # else those that it joined with
        values["addresses"] = list(said.addresses)
    if said.sealing_key:
        values["sealing_key"] = said.sealing_key
    connection.execute(sa.update(agents).where(agents.c.id == agent.id).values(**values))
    if agent.role == "mediaagent":
        for pool in said.pools:
            _pool_seen(connection, ids, agent, pool, now)


def seen(connection: sa.Connection, agent: Any, time: str, troubles: Sequence[str], now: datetime) -> None:
    """An agent's heartbeat; `time` by its clock, empty where it does not say. Raises RequestInvalid."""
    values: dict[str, Any] = {"seen_at": now}
    if time:
        try:
            ahead = datetime.fromisoformat(time) - now
        except (ValueError, TypeError) as error:
            raise RequestInvalid(f"time: {error}") from error
        values["clock_ahead_ms"] = ahead // timedelta(milliseconds=1)
    said = [trouble[:_TROUBLE_CHARS] for trouble in troubles[-_TROUBLES:]]
    if said != agent.troubles:
        values["troubles"] = said
    connection.execute(sa.update(agents).where(agents.c.id == agent.id).values(**values))


def _pool_seen(connection: sa.Connection, ids: Ids, agent: Any, seen_pool: PoolSeen, now: datetime) -> None:
    """A pool by its repository; one that is being made, by its name and place; else one that is new to us."""
    same = pools.c.repository_id == seen_pool.repository_id
    being_made = sa.and_(pools.c.repository_id.is_(None), pools.c.name == seen_pool.name, pools.c.url == seen_pool.url)
    row = connection.execute(sa.select(pools).where(sa.or_(same, being_made))).first()
    if row is None:
        pool_id = ids.new(now)
        taken = connection.execute(sa.select(pools.c.id).where(pools.c.name == seen_pool.name)).first()
        name = seen_pool.name if taken is None else f"{seen_pool.name} ({seen_pool.repository_id})"
        new = {"id": pool_id, "name": name, "url": seen_pool.url, "created_at": now}
        connection.execute(sa.insert(pools).values(**new))
    else:
        pool_id = row.id
    ready = {"state": "ready", "reason": "", "repository_id": seen_pool.repository_id}
    connection.execute(sa.update(pools).where(pools.c.id == pool_id).values(**ready))
    put(connection, pool_agents, {"pool_id": pool_id, "agent_id": agent.id})
