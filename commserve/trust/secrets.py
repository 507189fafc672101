"""Secrets of hypervisors and pools: sealed at once to the agents that use them, and never readable here again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from commserve.faults import SecretNeeded
from commserve.store.tables import agents, sealed_secrets
from proto.channels import Caller
from proto.sealing import seal


def seal_to(connection: sa.Connection, owner: str, secret: str | None, agent_ids: Sequence[str], now: datetime) -> None:
    """Keep `secret` for exactly these agents. Without a secret what is sealed stays, for those who keep it.

    Raises SecretNeeded where an agent has no key to seal to, or is new to a secret that was not given again.
    """
    of_owner = sealed_secrets.c.owner == owner
    connection.execute(sa.delete(sealed_secrets).where(of_owner, sealed_secrets.c.agent_id.notin_(agent_ids)))
    if secret is None:
        have = set(connection.execute(sa.select(sealed_secrets.c.agent_id).where(of_owner)).scalars())
        missing = set(agent_ids) - have
        if have and missing:
            raise SecretNeeded(f"{owner}: agent {min(missing)} has no secret yet: give it again")
        return
    connection.execute(sa.delete(sealed_secrets).where(of_owner))
    if not agent_ids:
        raise SecretNeeded(f"{owner}: a secret is kept for agents that are named, and none is")
    for row in connection.execute(sa.select(agents).where(agents.c.id.in_(agent_ids))):
        if row.sealing_key is None:
            raise SecretNeeded(f"{owner}: agent {row.name} was never here, so nothing can be sealed to it")
        sealed = seal(secret.encode(), row.sealing_key, owner, Caller(row.role, row.id).uri)
        kept = {"owner": owner, "agent_id": row.id, "sealed": sealed, "sealed_at": now}
        connection.execute(sa.insert(sealed_secrets).values(**kept))


def sealed_for(connection: sa.Connection, owner: str, agent_id: str) -> bytes:
    """What is sealed to an agent; empty where there is nothing."""
    found = sa.select(sealed_secrets.c.sealed)
    mine = found.where(sealed_secrets.c.owner == owner, sealed_secrets.c.agent_id == agent_id)
    return connection.execute(mine).scalar() or b""


def forget(connection: sa.Connection, owner: str) -> None:
    """The owner is gone."""
    connection.execute(sa.delete(sealed_secrets).where(sealed_secrets.c.owner == owner))
