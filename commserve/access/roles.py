"""Permissions, the roles that hold them, and the one question: may this person do this here?

A binding gives a role to a person on a scope. A thing lies in several scopes at once: a machine in everything, in its
hypervisor, its plan and its group. Denied unless a binding allows it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from commserve.faults import NotAllowed


class Permission(enum.StrEnum):
    HYPERVISORS_READ = "hypervisors.read"
    HYPERVISORS_WRITE = "hypervisors.write"
    MACHINES_READ = "machines.read"
    MACHINES_WRITE = "machines.write"
    RULES_READ = "rules.read"
    RULES_WRITE = "rules.write"
    PLANS_READ = "plans.read"
    PLANS_WRITE = "plans.write"
    POOLS_READ = "pools.read"
    POOLS_WRITE = "pools.write"
    AGENTS_READ = "agents.read"
    AGENTS_WRITE = "agents.write"
    JOBS_READ = "jobs.read"
    JOBS_RUN = "jobs.run"
    POINTS_READ = "points.read"
    POINTS_RESTORE = "points.restore"
    POINTS_EXPIRE = "points.expire"
    USERS_READ = "users.read"
    USERS_WRITE = "users.write"
    SELF = "self"


_VIEWER = frozenset(
    permission for permission in Permission if permission.endswith(".read") and permission != Permission.USERS_READ
) | {Permission.SELF}
_OPERATOR = _VIEWER | {Permission.JOBS_RUN, Permission.POINTS_RESTORE, Permission.MACHINES_WRITE}

ROLES: Mapping[str, frozenset[Permission]] = {
    "administrator": frozenset(Permission),
    "operator": _OPERATOR,
    "viewer": _VIEWER,
}

SCOPE_KINDS = ("everything", "hypervisor", "plan", "group")


@dataclass(frozen=True)
class Scope:
    """A set of things; `id` is empty for everything."""

    kind: str
    id: str = ""


EVERYTHING = Scope("everything")


def scopes_of(row: Mapping[str, str | None]) -> frozenset[Scope]:
    """The scopes in which a thing lies, by `hypervisor_id`, `plan_id` and `rule_id` of its row, where it has them."""
    columns = (("hypervisor", "hypervisor_id"), ("plan", "plan_id"), ("group", "rule_id"))
    return frozenset({EVERYTHING, *(Scope(kind, key) for kind, name in columns if (key := row.get(name)))})


@dataclass(frozen=True)
class Grant:
    """What one binding gives."""

    permissions: frozenset[Permission]
    scope: Scope


@dataclass(frozen=True)
class Person:
    """Who asks, by a token. A token may hold fewer permissions than its user, never more."""

    id: str
    name: str
    grants: tuple[Grant, ...] = ()
    token_id: str = ""
    token_permissions: frozenset[Permission] = field(default_factory=lambda: frozenset(Permission))

    def scopes(self, permission: Permission) -> frozenset[Scope]:
        """Where this person has a permission."""
        if permission not in self.token_permissions:
            return frozenset()
        return frozenset(grant.scope for grant in self.grants if permission in grant.permissions)


def authorize(person: Person, permission: Permission, lies_in: Iterable[Scope]) -> None:
    """Raises NotAllowed unless the person has the permission on one of the scopes in which a thing lies."""
    if person.scopes(permission).isdisjoint(lies_in):
        raise NotAllowed(f"{person.name} lacks {permission} here")


def visible(
    person: Person, permission: Permission, columns: Mapping[str, sa.ColumnElement[str]]
) -> sa.ColumnElement[bool]:
    """The same question for a whole list, in SQL. `columns` has the column of each kind of scope that the rows know."""
    scopes = person.scopes(permission)
    if EVERYTHING in scopes:
        return sa.true()
    ids = {kind: sorted(scope.id for scope in scopes if scope.kind == kind) for kind in columns}
    clauses = [columns[kind].in_(found) for kind, found in ids.items() if found]
    return sa.or_(*clauses) if clauses else sa.false()
