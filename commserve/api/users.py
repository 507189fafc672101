"""/users, /tokens, /bindings and /login: who there is, and who may do what."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from commserve.access import people
from commserve.access.roles import EVERYTHING, SCOPE_KINDS, Permission, Scope
from commserve.api.call import Call, posts, reads, services_of, writes
from commserve.api.paging import Cursor, Limit, Page, page
from commserve.api.shapes import Id, Input, Moment, MomentIn
from commserve.faults import InUse, NotFound, RequestInvalid
from commserve.moments import present
from commserve.plans.promise import Name
from commserve.store.tables import bindings, hypervisors, plans, rules, tokens, users

router = APIRouter()
Password = Annotated[str, Field(min_length=12, max_length=1000)]
_LOGIN_HOURS = 12
_SCOPE_TABLES = {"hypervisor": hypervisors, "plan": plans, "group": rules}


class UserIn(Input):
    name: Name
    password: Password | None = Field(default=None, description="none: tokens are the only way in")
    disabled: bool = False


class User(BaseModel):
    id: str
    name: str
    disabled: bool
    created_at: Moment


class TokenIn(Input):
    name: Name
    permissions: list[Permission] = Field(default=[], max_length=100, description="none: all that the user has")
    expires_at: MomentIn | None = None
    user_id: Id | None = Field(default=None, description="none: the caller; others need users.write")


class Token(BaseModel):
    id: str
    user_id: str
    name: str
    permissions: list[str]
    created_at: Moment
    expires_at: Moment | None


class NewToken(Token):
    token: str = Field(description="shown once")


class BindingIn(Input):
    user_id: Id
    role: Literal["administrator", "operator", "viewer"]
    scope_kind: Literal["everything", "hypervisor", "plan", "group"] = "everything"
    scope_id: Id = ""


class Binding(BindingIn):
    id: str
    created_at: Moment


class LoginIn(Input):
    name: Name
    password: str = Field(max_length=1000)


@router.post("/login", response_model=NewToken, tags=["users"])
def log_in(body: LoginIn, request: Request) -> Response:
    """A token of twelve hours for a name and a password. Needs no token."""
    services = services_of(request)
    now = present(services.clock)
    with services.attempts.counted(body.name), services.store.reading() as connection:
        user_id = people.check_password(connection, body.name, body.password)
    with services.store.writing() as connection:
        expires_at = now + timedelta(hours=_LOGIN_HOURS)
        key, text = people.make_token(connection, services.ids, user_id, "login", [], expires_at, now)
        row = connection.execute(sa.select(tokens).where(tokens.c.id == key)).mappings().one()
    shown = NewToken.model_validate({**row, "token": text})
    return Response(shown.model_dump_json(), headers={"Cache-Control": "no-store"}, media_type="application/json")


@router.get("/users", response_model=Page[User], tags=["users"])
def list_users(
    call: Annotated[Call, reads(Permission.USERS_READ)], limit: Limit = 100, cursor: Cursor = None
) -> Response:
    wanted = sa.select(users).where(call.visible({}))
    return call.answer(page(call.connection, wanted, users.c.id, limit, cursor, User.model_validate))


@router.post("/users", status_code=201, response_model=User, tags=["users"])
def add_user(body: UserIn, call: Annotated[Call, posts(Permission.USERS_WRITE)]) -> Response:
    """May do nothing until a binding says so."""
    call.authorize()
    key = people.make_user(call.connection, call.services.ids, body.name, body.password, call.now)
    call.connection.execute(sa.update(users).where(users.c.id == key).values(disabled=body.disabled))
    return call.answer(_user(call, key), 201, location=f"/api/v1/users/{key}")


@router.get("/users/{user_id}", response_model=User, tags=["users"])
def show_user(user_id: Id, call: Annotated[Call, reads(Permission.USERS_READ)]) -> Response:
    return call.answer(_user(call, user_id))


@router.put("/users/{user_id}", response_model=User, tags=["users"])
def change_user(user_id: Id, body: UserIn, call: Annotated[Call, writes(Permission.USERS_WRITE)]) -> Response:
    """Without a password the old one stays."""
    call.expect(_user(call, user_id))
    values = {"name": body.name, "disabled": body.disabled}
    if body.password is not None:
        values["password_hash"] = people.hash_password(body.password)
    call.connection.execute(sa.update(users).where(users.c.id == user_id).values(**values))
    _somebody_rules(call)
    return call.answer(_user(call, user_id))


@router.delete("/users/{user_id}", status_code=204, tags=["users"])
def remove_user(user_id: Id, call: Annotated[Call, writes(Permission.USERS_WRITE)]) -> Response:
    """With all tokens and bindings."""
    call.expect(_user(call, user_id))
    call.connection.execute(sa.delete(users).where(users.c.id == user_id))
    _somebody_rules(call)
    return call.answer(None, 204)


@router.get("/tokens", response_model=Page[Token], tags=["tokens"])
def list_tokens(call: Annotated[Call, reads(Permission.SELF)], limit: Limit = 100, cursor: Cursor = None) -> Response:
    """The caller's own; with users.read, everybody's."""
    wanted = sa.select(tokens)
    if EVERYTHING not in call.person.scopes(Permission.USERS_READ):
        wanted = wanted.where(tokens.c.user_id == call.person.id)
    return call.answer(page(call.connection, wanted, tokens.c.id, limit, cursor, Token.model_validate))


@router.post("/tokens", status_code=201, response_model=NewToken, tags=["tokens"])
def add_token(body: TokenIn, call: Annotated[Call, posts(Permission.SELF)]) -> Response:
    """Its text is shown here and never again. A token cannot make one that may more than itself."""
    user_id = body.user_id or call.person.id
    if user_id != call.person.id:
        call.authorize(permission=Permission.USERS_WRITE)
        _user(call, user_id)
    limited = call.person.token_permissions != frozenset(Permission)
    if limited and (not body.permissions or not call.person.token_permissions.issuperset(body.permissions)):
        raise RequestInvalid("permissions: more than the token that asks has")
    key, text = people.make_token(
        call.connection, call.services.ids, user_id, body.name, body.permissions, body.expires_at, call.now
    )
    row = call.connection.execute(sa.select(tokens).where(tokens.c.id == key)).mappings().one()
    return call.answer(
        NewToken.model_validate({**row, "token": text}), 201, location=f"/api/v1/tokens/{key}", secret=True
    )


@router.delete("/tokens/{token_id}", status_code=204, tags=["tokens"])
def revoke_token(token_id: Id, call: Annotated[Call, writes(Permission.SELF)]) -> Response:
    """At once."""
    row = call.connection.execute(sa.select(tokens).where(tokens.c.id == token_id)).mappings().one_or_none()
    others = row is not None and row["user_id"] != call.person.id
    if row is None or (others and EVERYTHING not in call.person.scopes(Permission.USERS_READ)):
        raise NotFound(f"tokens: no {token_id!r}")
    if others:
        call.authorize(permission=Permission.USERS_WRITE)
    call.connection.execute(sa.delete(tokens).where(tokens.c.id == token_id))
    return call.answer(None, 204)


@router.get("/bindings", response_model=Page[Binding], tags=["bindings"])
def list_bindings(
    call: Annotated[Call, reads(Permission.USERS_READ)], limit: Limit = 100, cursor: Cursor = None
) -> Response:
    wanted = sa.select(bindings).where(call.visible({}))
    return call.answer(page(call.connection, wanted, bindings.c.id, limit, cursor, Binding.model_validate))


@router.post("/bindings", status_code=201, response_model=Binding, tags=["bindings"])
def add_binding(body: BindingIn, call: Annotated[Call, posts(Permission.USERS_WRITE)]) -> Response:
    """Gives a role to a user on everything, a hypervisor, a plan, or the machines of a rule."""
    call.authorize()
    known = call.connection.execute(sa.select(users.c.id).where(users.c.id == body.user_id)).one_or_none()
    if known is None:
        raise RequestInvalid(f"user_id: no user {body.user_id!r}")
    if (body.scope_kind == EVERYTHING.kind) != (not body.scope_id):
        raise RequestInvalid(f"scope_id: {SCOPE_KINDS[0]} takes none, the others need one")
    table = _SCOPE_TABLES.get(body.scope_kind)
    if table is not None:
        there = call.connection.execute(sa.select(table.c.id).where(table.c.id == body.scope_id)).first()
        if there is None:
            raise RequestInvalid(f"scope_id: no {body.scope_kind} {body.scope_id!r}")
    scope = Scope(body.scope_kind, body.scope_id)
    key = people.bind(call.connection, call.services.ids, body.user_id, body.role, scope, call.now)
    return call.answer(_binding(call, key), 201, location=f"/api/v1/bindings/{key}")


@router.delete("/bindings/{binding_id}", status_code=204, tags=["bindings"])
def remove_binding(binding_id: Id, call: Annotated[Call, writes(Permission.USERS_WRITE)]) -> Response:
    call.expect(_binding(call, binding_id))
    call.connection.execute(sa.delete(bindings).where(bindings.c.id == binding_id))
    _somebody_rules(call)
    return call.answer(None, 204)


def _user(call: Call, key: str) -> User:
    return User.model_validate(call.row(users, key, {}, Permission.USERS_READ))


def _binding(call: Call, key: str) -> Binding:
    return Binding.model_validate(call.row(bindings, key, {}, Permission.USERS_READ))


def _somebody_rules(call: Call) -> None:
    """Refuses what would leave nobody who can undo it."""
    left = (
        sa.select(bindings.c.id)
        .join(users, users.c.id == bindings.c.user_id)
        .where(bindings.c.role == "administrator", bindings.c.scope_kind == EVERYTHING.kind)
        .where(users.c.disabled.is_(False))
    )
    if call.connection.execute(left).first() is None:
        raise InUse("nobody would be left who is administrator of everything")
