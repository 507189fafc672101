"""Join tokens and the agents that they become: `<id>.<secret>.<fingerprint of the authority>`, once, within an hour."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from commserve.access.people import hash_of
from commserve.faults import AgentRefused, JoinRefused
from commserve.ids import Ids
from commserve.store.inserting import put
from commserve.store.tables import agents, counters, join_tokens, sealed_secrets
from commserve.trust.authority import AGENT_DAYS, Authority
from proto.channels import Caller

TOKEN_LIFE = timedelta(hours=1)
_DENY_LIST = "deny_list"


@dataclass(frozen=True)
class Joined:
    """What a new agent gets."""

    caller: Caller
    chain: bytes


def make_join_token(
    connection: sa.Connection, ids: Ids, authority: Authority, role: str, name: str, by: str, now: datetime
) -> tuple[str, str]:
    """A token's id, and its text, which nobody can read again."""
    token_id, secret = ids.new(now), secrets.token_hex(32)
    row = {"id": token_id, "secret_hash": hash_of(secret), "role": role, "name": name, "created_by": by}
    connection.execute(sa.insert(join_tokens).values(**row, created_at=now, expires_at=now + TOKEN_LIFE))
    return token_id, f"{token_id}.{secret}.{authority.fingerprint}"


def join(
    connection: sa.Connection,
    ids: Ids,
    authority: Authority,
    token: str,
    role: str,
    name: str,
    csr: bytes,
    now: datetime,
) -> Joined:
    """Make an agent of whoever has the token. Raises JoinRefused, and then the token is as it was.

    An agent of the same role and name that was revoked is replaced: a machine that was set up anew keeps its name.
    """
    token_id, _, secret = token.partition(".")
    row = connection.execute(sa.select(join_tokens).where(join_tokens.c.id == token_id)).one_or_none()
    if row is None or not hmac.compare_digest(row.secret_hash, hash_of(secret)):
        raise JoinRefused("no such join token")
    if row.used_at is not None:
        raise JoinRefused(f"join token {row.id} was used at {row.used_at.isoformat()}")
    if now >= row.expires_at:
        raise JoinRefused(f"join token {row.id} ended at {row.expires_at.isoformat()}")
    if (row.role, row.name) != (role, name):
        raise JoinRefused(f"join token {row.id} is for {row.role} {row.name!r}, not for {role} {name!r}")
    caller = Caller(role, ids.new(now))
    chain, end = authority.certify(caller, csr, now)
    _free_the_name(connection, name)
    agent = {"id": caller.id, "role": role, "name": name, "joined_at": now, "certificate_expires_at": end}
    connection.execute(sa.insert(agents).values(**agent))
    connection.execute(sa.update(join_tokens).where(join_tokens.c.id == row.id).values(used_at=now))
    return Joined(caller, chain)


def forget_tokens(connection: sa.Connection, before: datetime) -> None:
    """Those that ended before then, used or not."""
    connection.execute(sa.delete(join_tokens).where(join_tokens.c.expires_at < before))


def _free_the_name(connection: sa.Connection, name: str) -> None:
    other = connection.execute(sa.select(agents).where(agents.c.name == name)).one_or_none()
    if other is None:
        return
    if other.state != "revoked":
        raise JoinRefused(f"there is an agent {name!r} already; revoke it first")
    connection.execute(sa.update(agents).where(agents.c.id == other.id).values(name=f"{name} ({other.id})"))


def renew(connection: sa.Connection, authority: Authority, caller: Caller, csr: bytes, now: datetime) -> bytes:
    """A new certificate for the agent that calls. Raises JoinRefused."""
    chain, end = authority.certify(caller, csr, now)
    change = sa.update(agents).where(agents.c.id == caller.id)
    connection.execute(change.values(certificate_expires_at=end))
    return chain


def agent_of(connection: sa.Connection, caller: Caller) -> Any:
    """The agent that a certificate names. Raises AgentRefused for one that is revoked or not ours."""
    row = connection.execute(sa.select(agents).where(agents.c.id == caller.id)).one_or_none()
    if row is None or row.role != caller.role:
        raise AgentRefused(f"{caller.uri}: no agent of ours")
    if row.state == "revoked":
        raise AgentRefused(f"agent {row.name} was revoked at {row.revoked_at.isoformat()}")
    return row


def revoke(connection: sa.Connection, agent_id: str, now: datetime) -> None:
    """Its certificates count no more. What was sealed to it is forgotten."""
    change = sa.update(agents).where(agents.c.id == agent_id)
    connection.execute(change.values(state="revoked", revoked_at=now))
    connection.execute(sa.delete(sealed_secrets).where(sealed_secrets.c.agent_id == agent_id))
    put(connection, counters, {"name": _DENY_LIST, "value": deny_list(connection, now)[0] + 1})


def deny_list(connection: sa.Connection, now: datetime) -> tuple[int, list[str]]:
    """Its version, and the revoked agents that may still have a certificate."""
    version = connection.execute(sa.select(counters.c.value).where(counters.c.name == _DENY_LIST)).scalar()
    recent = sa.and_(agents.c.state == "revoked", agents.c.revoked_at > now - timedelta(days=AGENT_DAYS + 1))
    return version or 0, list(connection.execute(sa.select(agents.c.id).where(recent).order_by(agents.c.id)).scalars())
