"""One request of a known person: a transaction, a permission, an answer.

`Reads` and `Writes` are the dependencies that every route has, but for the few that are open: they authenticate, refuse
whoever has the permission nowhere, and hold the transaction that commits before the answer leaves. A handler then asks
`authorize` for the thing that it touches, or filters its list by `visible`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import Depends, Header, Request, Response, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from pydantic_core import to_json

from commserve.access import roles
from commserve.access.people import person_of
from commserve.access.roles import EVERYTHING, Permission, Person, Scope
from commserve.faults import (
    AnswerNotKept,
    Changed,
    KeyReused,
    NotAllowed,
    NotAuthenticated,
    NotFound,
)
from commserve.moments import present
from commserve.services import Services
from commserve.store.tables import answers

_BEARER = HTTPBearer(auto_error=False, description="A token: `ingot_<id>_<secret>`")
IdempotencyKey = Annotated[
    str | None,
    Header(alias="Idempotency-Key", max_length=200, description="the same key: done once, answered the same"),
]


def services_of(request: Request) -> Services:
    """What the application was made with."""
    services: Services = request.app.state.services
    return services


class Replayed(Exception):
    """Not a failure: the request was done before, and this was the answer."""

    def __init__(self, answer: Response) -> None:
        super().__init__()
        self.answer = answer


class Call:
    """One request, while it is answered."""

    def __init__(
        self, request: Request, services: Services, connection: sa.Connection, person: Person, permission: Permission
    ) -> None:
        self.request = request
        self.services = services
        self.connection = connection
        self.person = person
        self.permission = permission
        self.now: datetime = present(services.clock)
        self.token = ""  # as it came: for who goes on after the answer began
        self.idempotency: tuple[str, str] | None = None  # key, and what the request is known by
        self.new_work = False  # whether agents that wait should look, once this is committed

    def authorize(self, *scopes: Scope, permission: Permission | None = None) -> None:
        """Raises NotAllowed unless the person may do this in one of these scopes; without any, in everything."""
        roles.authorize(self.person, permission or self.permission, scopes or (EVERYTHING,))

    def visible(self, columns: Mapping[str, sa.ColumnElement[Any]]) -> sa.ColumnElement[bool]:
        """A condition that leaves the rows that the person may know of."""
        return roles.visible(self.person, self.permission, columns)

    def row(
        self, table: sa.Table, key: str, columns: Mapping[str, sa.ColumnElement[Any]], read: Permission
    ) -> dict[str, Any]:
        """A row by its id, for whoever has this call's permission on it.

        Who may not even read it hears that there is none.
        """
        row = self.connection.execute(sa.select(table).where(table.c.id == key)).one_or_none()
        if row is None:
            raise NotFound(f"{table.name}: no {key!r}")
        found = row._asdict()
        lies_in = {EVERYTHING, *(Scope(kind, found[c.name]) for kind, c in columns.items() if found[c.name])}
        if self.person.scopes(read).isdisjoint(lies_in):
            raise NotFound(f"{table.name}: no {key!r}")
        self.authorize(*lies_in)
        return found

    def answer(
        self,
        body: BaseModel | Mapping[str, Any] | str | None,
        status: int = 200,
        *,
        location: str = "",
        secret: bool = False,
    ) -> Response:
        """The answer, kept with the idempotency key if one came; `secret`: it holds one, and is not kept.

        A `body` that is text is JSON already.
        """
        text = "" if body is None else body if isinstance(body, str) else json_of(body)
        if self.idempotency is not None:
            key, request_hash = self.idempotency
            kept = {"status": status, "body": "" if secret else text, "location": location}
            self.connection.execute(
                sa.insert(answers).values(
                    user_id=self.person.id, key=key, request_hash=request_hash, created_at=self.now, **kept
                )
            )
        return _respond(self.request, text, status, location)

    def committed(self) -> None:
        """What it did is there for others to see."""
        if self.new_work:
            self.services.bell.ring()

    def expect(self, current: BaseModel | Mapping[str, Any]) -> None:
        """Raises Changed when the request says `If-Match` and the thing is not that one any more."""
        wanted = self.request.headers.get("If-Match")
        found = etag_of(json_of(current))
        if wanted is not None and found not in _listed(wanted) and wanted.strip() != "*":
            raise Changed(f"expected {wanted}, found {found}: read it again")


def json_of(body: BaseModel | Mapping[str, Any]) -> str:
    return body.model_dump_json() if isinstance(body, BaseModel) else to_json(body).decode()


def etag_of(text: str) -> str:
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:24]}"'


def _listed(header: str) -> list[str]:
    return [part.strip().removeprefix("W/") for part in header.split(",")]


def _respond(request: Request, text: str, status: int, location: str) -> Response:
    headers = {"Cache-Control": "no-store"}
    if location:
        headers["Location"] = location
    if not text:
        return Response(status_code=status, headers=headers)
    tag = etag_of(text)
    headers["ETag"] = tag
    if request.method == "GET":
        headers["Cache-Control"] = "private, no-cache"
        if tag in _listed(request.headers.get("If-None-Match", "")):
            return Response(status_code=304, headers=headers)
    return Response(text, status, headers, "application/json")


async def _body(request: Request) -> bytes:
    return await request.body()


async def _one_at_a_time(request: Request) -> AsyncIterator[None]:
    """Who writes waits here for who writes, without a thread: threads that wait would leave none for whom they wait."""
    async with request.app.state.writing:
        yield


class _Needs:
    """What `Reads` and `Writes` share: who asks, and may they at all?"""

    def __init__(self, permission: Permission) -> None:
        self.permission = permission

    def _call(
        self, request: Request, connection: sa.Connection, credentials: HTTPAuthorizationCredentials | None
    ) -> Call:
        services = services_of(request)
        if credentials is None:
            raise NotAuthenticated("expected `Authorization: Bearer ingot_...`, found none")
        person = person_of(connection, credentials.credentials, present(services.clock))
        if not person.scopes(self.permission):
            raise NotAllowed(f"{person.name} lacks {self.permission}")
        call = Call(request, services, connection, person, self.permission)
        call.token = credentials.credentials
        return call


class Reads(_Needs):
    """A route that reads."""

    def __call__(
        self, request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]
    ) -> Iterator[Call]:
        with services_of(request).store.reading() as connection:
            yield self._call(request, connection, credentials)


class Writes(_Needs):
    """A route that writes."""

    def __call__(
        self,
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
        _turn: Annotated[None, Depends(_one_at_a_time)],
    ) -> Iterator[Call]:
        with services_of(request).store.writing() as connection:
            call = self._call(request, connection, credentials)
            yield call
        call.committed()


class Posts(_Needs):
    """A route that makes or starts something: with an idempotency key, once."""

    def __call__(
        self,
        request: Request,
        body: Annotated[bytes, Depends(_body)],
        credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
        _turn: Annotated[None, Depends(_one_at_a_time)],
        key: IdempotencyKey = None,
    ) -> Iterator[Call]:
        with services_of(request).store.writing() as connection:
            call = self._call(request, connection, credentials)
            if key is not None and credentials is not None:
                call.idempotency = (key, _known_by(request, body, credentials.credentials))
                _replay(call, key)
            yield call
        call.committed()


def _known_by(request: Request, body: bytes, token: str) -> str:
    """A body may hold a password: whoever has the database, and so not the token, cannot try guesses on this."""
    target = f"{request.method} {request.url.path}?{request.url.query} ".encode()
    return hmac.digest(token.encode(), target + body, "sha256").hex()


def _replay(call: Call, key: str) -> None:
    wanted = sa.select(answers).where(answers.c.user_id == call.person.id, answers.c.key == key)
    row = call.connection.execute(wanted).one_or_none()
    if row is None or call.idempotency is None:
        return
    if row.request_hash != call.idempotency[1]:
        raise KeyReused(f"Idempotency-Key {key!r} came with another request or token before")
    if not row.body and row.status != 204:
        raise AnswerNotKept("this was done before, and its answer held a secret that is shown once")
    raise Replayed(_respond(call.request, row.body, row.status, row.location))


def reads(permission: Permission) -> Any:
    return Depends(Reads(permission), scope="function")


def writes(permission: Permission) -> Any:
    return Depends(Writes(permission), scope="function")


def posts(permission: Permission) -> Any:
    return Depends(Posts(permission), scope="function")
