"""Users, their passwords, tokens and bindings, as the database has them.

A token reads `ingot_<id>_<secret>`; the secret has 256 random bits, so a plain SHA-256 of it is kept. Passwords are
kept by argon2id.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import argon2
import sqlalchemy as sa

from commserve.access.roles import ROLES, Grant, Permission, Person, Scope
from commserve.faults import NotAuthenticated
from commserve.ids import Ids
from commserve.store.tables import bindings, tokens, users

_PREFIX = "ingot"
_HASHER = argon2.PasswordHasher()  # RFC 9106's second choice: 64 MiB, 3 passes, 4 lanes


@functools.cache
def _nobody() -> str:
    """A hash that no password has: an unknown name takes as long as a wrong password."""
    return _HASHER.hash(secrets.token_hex(16))


def hash_of(secret: str) -> str:
    """Of a secret that is random enough to need no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


def hash_password(password: str) -> str:
    return _HASHER.hash(password)


def check_password(connection: sa.Connection, name: str, password: str) -> str:
    """The user's id. Raises NotAuthenticated, and does not tell which of the two was wrong."""
    row = connection.execute(sa.select(users).where(users.c.name == name)).one_or_none()
    known = row is not None and bool(row.password_hash) and not row.disabled
    try:
        _HASHER.verify(row.password_hash if row is not None and known else _nobody(), password)
    except argon2.exceptions.VerifyMismatchError as error:
        raise NotAuthenticated("no such user, or not this password") from error
    if row is None or not known:
        raise NotAuthenticated("no such user, or not this password")
    return str(row.id)


def make_user(connection: sa.Connection, ids: Ids, name: str, password: str | None, now: datetime) -> str:
    """A user without any binding. `password` None: tokens are the only way in."""
    user_id = ids.new(now)
    hashed = "" if password is None else hash_password(password)
    connection.execute(sa.insert(users).values(id=user_id, name=name, password_hash=hashed, created_at=now))
    return user_id


def bind(connection: sa.Connection, ids: Ids, user_id: str, role: str, scope: Scope, now: datetime) -> str:
    binding_id = ids.new(now)
    row = {"id": binding_id, "user_id": user_id, "role": role, "scope_kind": scope.kind, "scope_id": scope.id}
    connection.execute(sa.insert(bindings).values(**row, created_at=now))
    return binding_id


def make_token(
    connection: sa.Connection,
    ids: Ids,
    user_id: str,
    name: str,
    permissions: Sequence[Permission],
    expires_at: datetime | None,
    now: datetime,
) -> tuple[str, str]:
    """A token's id, and its text, which nobody can read again."""
    token_id, secret = ids.new(now), secrets.token_hex(32)
    row: dict[str, Any] = {
        "id": token_id,
        "user_id": user_id,
        "name": name,
        "secret_hash": hash_of(secret),
        "permissions": sorted(permissions),
        "created_at": now,
        "expires_at": expires_at,
    }
    connection.execute(sa.insert(tokens).values(**row))
    return token_id, f"{_PREFIX}_{token_id}_{secret}"


def forget_tokens(connection: sa.Connection, before: datetime) -> None:
    """Those that ended before then: until now they were there to say so."""
    connection.execute(sa.delete(tokens).where(tokens.c.expires_at < before))


def person_of(connection: sa.Connection, text: str, now: datetime) -> Person:
    """Who holds this token. Raises NotAuthenticated."""
    prefix, _, rest = text.partition("_")
    token_id, _, secret = rest.partition("_")
    wanted = sa.select(tokens, users.c.name.label("user_name"), users.c.disabled).join(users)
    row = connection.execute(wanted.where(tokens.c.id == token_id)).one_or_none()
    if row is None or prefix != _PREFIX or not hmac.compare_digest(row.secret_hash, hash_of(secret)):
        raise NotAuthenticated("no such token")
    if row.disabled:
        raise NotAuthenticated(f"user {row.user_name} is disabled")
    if row.expires_at is not None and row.expires_at <= now:
        raise NotAuthenticated(f"token {row.id} expired at {row.expires_at.isoformat()}")
    grants = [
        Grant(ROLES[binding.role], Scope(binding.scope_kind, binding.scope_id))
        for binding in connection.execute(sa.select(bindings).where(bindings.c.user_id == row.user_id))
        if binding.role in ROLES  # a role of a later version gives nothing
    ]
    allowed = frozenset(Permission(name) for name in row.permissions) if row.permissions else frozenset(Permission)
    return Person(row.user_id, row.user_name, tuple(grants), row.id, allowed)
