"""/agents, /join-tokens, /authority: the machines that do the work, and how they become ours."""

from __future__ import annotations

from typing import Annotated, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from commserve.access.roles import Permission
from commserve.api.call import Call, posts, reads, services_of, writes
from commserve.api.paging import Cursor, Limit, Page, page
from commserve.api.shapes import Id, Input, Moment
from commserve.faults import StateForbids
from commserve.moments import present
from commserve.plans.promise import BytesPerSecond, Name
from commserve.store.tables import agents, join_tokens
from commserve.trust import joining

router = APIRouter(tags=["agents"])
Role = Literal["vsa", "mediaagent"]


class Agent(BaseModel):
    id: str
    role: str
    name: str
    state: str = Field(description="joined | active | draining | revoked")
    host: str
    version: str
    capabilities: list[str]
    addresses: list[str]
    bytes_per_second: int
    clock_ahead_ms: int | None = Field(description="of the CommServe's clock, the way of a heartbeat included")
    troubles: list[str] = Field(description="the last warnings and errors of its log, each a line of JSON")
    joined_at: Moment
    seen_at: Moment | None
    certificate_expires_at: Moment | None
    revoked_at: Moment | None


class AgentIn(Input):
    bytes_per_second: BytesPerSecond = Field(default=0, description="of all that it moves; 0: no limit")


class JoinTokenIn(Input):
    role: Role
    name: Name


class JoinToken(BaseModel):
    id: str
    role: str
    name: str
    created_by: str
    created_at: Moment
    expires_at: Moment
    used_at: Moment | None


class NewJoinToken(JoinToken):
    token: str = Field(description="shown once; works once, for an hour")


class AuthorityOut(BaseModel):
    certificate: str = Field(description="PEM; compare its key with the fingerprint in the join token")
    fingerprint: str = Field(description="SHA-256 of its SubjectPublicKeyInfo")
    agents_address: str = Field(description="host:port that agents dial; no host: the one of this URL")


class JoinIn(Input):
    token: str = Field(max_length=200, description="`<id>.<secret>`: the join token without the fingerprint")
    role: Role
    name: Name
    csr: str = Field(max_length=20_000, description="PEM, a key on P-256")
    addresses: list[Annotated[str, Field(max_length=300)]] = Field(default=[], max_length=20)


class Joined(BaseModel):
    agent: str
    chain: str = Field(description="PEM")
    agents_address: str
    ticket_key: str = Field(description="SubjectPublicKeyInfo, hexadecimal")


@router.get("/authority", response_model=AuthorityOut)
def show_authority(request: Request) -> AuthorityOut:
    """Whom agents trust. Needs no token: whoever asks checks the answer."""
    services = services_of(request)
    pem = services.authority.pem.decode()
    return AuthorityOut(
        certificate=pem, fingerprint=services.authority.fingerprint, agents_address=services.agents_address
    )


@router.post("/agents/join", response_model=Joined)
def join_agent(body: JoinIn, request: Request) -> Response:
    """A certificate for whoever has a join token. Needs no other token."""
    services = services_of(request)
    with services.store.writing() as connection:
        joined = joining.join(
            connection,
            services.ids,
            services.authority,
            body.token,
            body.role,
            body.name,
            body.csr.encode(),
            present(services.clock),
        )
        change = sa.update(agents).where(agents.c.id == joined.caller.id)
        connection.execute(change.values(addresses=body.addresses))
    shown = Joined(
        agent=joined.caller.id,
        chain=joined.chain.decode(),
        agents_address=services.agents_address,
        ticket_key=services.authority.ticket_public_key.hex(),
    )
    return Response(shown.model_dump_json(), headers={"Cache-Control": "no-store"}, media_type="application/json")


@router.get("/agents", response_model=Page[Agent])
def list_agents(
    call: Annotated[Call, reads(Permission.AGENTS_READ)],
    limit: Limit = 100,
    cursor: Cursor = None,
    role: Role | None = None,
    name: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """Agents belong to nobody's part of the world: a binding on everything is needed."""
    wanted = sa.select(agents).where(call.visible({}))
    if role is not None:
        wanted = wanted.where(agents.c.role == role)
    if name is not None:
        wanted = wanted.where(agents.c.name == name)
    return call.answer(page(call.connection, wanted, agents.c.id, limit, cursor, Agent.model_validate))


@router.get("/agents/{agent_id}", response_model=Agent)
def show_agent(agent_id: Id, call: Annotated[Call, reads(Permission.AGENTS_READ)]) -> Response:
    return call.answer(_read(call, agent_id))


@router.put("/agents/{agent_id}", response_model=Agent)
def change_agent(agent_id: Id, body: AgentIn, call: Annotated[Call, writes(Permission.AGENTS_WRITE)]) -> Response:
    """Its share of the line."""
    call.expect(_read(call, agent_id))
    change = sa.update(agents).where(agents.c.id == agent_id)
    call.connection.execute(change.values(bytes_per_second=body.bytes_per_second))
    return call.answer(_read(call, agent_id))


@router.post("/agents/{agent_id}/drain", response_model=Agent)
def drain_agent(agent_id: Id, call: Annotated[Call, posts(Permission.AGENTS_WRITE)]) -> Response:
    """No new work; what runs is finished."""
    _move(call, agent_id, "draining")
    return call.answer(_read(call, agent_id))


@router.post("/agents/{agent_id}/resume", response_model=Agent)
def resume_agent(agent_id: Id, call: Annotated[Call, posts(Permission.AGENTS_WRITE)]) -> Response:
    """Work again."""
    _move(call, agent_id, "active")
    call.new_work = True
    return call.answer(_read(call, agent_id))


@router.post("/agents/{agent_id}/revoke", response_model=Agent)
def revoke_agent(agent_id: Id, call: Annotated[Call, posts(Permission.AGENTS_WRITE)]) -> Response:
    """Its certificate counts no more, for good. Change the passwords of what it reached."""
    found = _read(call, agent_id)
    if found.state != "revoked":
        joining.revoke(call.connection, agent_id, call.now)
        call.services.progress.revoked(call.connection, agent_id, call.now)
    return call.answer(_read(call, agent_id))


@router.get("/join-tokens", response_model=Page[JoinToken])
def list_join_tokens(
    call: Annotated[Call, reads(Permission.AGENTS_READ)], limit: Limit = 100, cursor: Cursor = None
) -> Response:
    wanted = sa.select(join_tokens).where(call.visible({}))
    return call.answer(page(call.connection, wanted, join_tokens.c.id, limit, cursor, JoinToken.model_validate))


@router.post("/join-tokens", status_code=201, response_model=NewJoinToken)
def add_join_token(body: JoinTokenIn, call: Annotated[Call, posts(Permission.AGENTS_WRITE)]) -> Response:
    """For one agent: its text is shown here and never again."""
    call.authorize()
    services = call.services
    key, text = joining.make_join_token(
        call.connection, services.ids, services.authority, body.role, body.name, call.person.name, call.now
    )
    row = call.row(join_tokens, key, {}, Permission.AGENTS_READ)
    return call.answer(NewJoinToken.model_validate({**row, "token": text}), 201, secret=True)


@router.delete("/join-tokens/{token_id}", status_code=204)
def remove_join_token(token_id: Id, call: Annotated[Call, writes(Permission.AGENTS_WRITE)]) -> Response:
    call.row(join_tokens, token_id, {}, Permission.AGENTS_READ)
    call.connection.execute(sa.delete(join_tokens).where(join_tokens.c.id == token_id))
    return call.answer(None, 204)


def _read(call: Call, key: str) -> Agent:
    return Agent.model_validate(call.row(agents, key, {}, Permission.AGENTS_READ))


def _move(call: Call, agent_id: str, state: str) -> None:
    found = _read(call, agent_id)
    if found.state not in ("active", "draining"):
        raise StateForbids(f"agent {found.name} is {found.state}")
    call.connection.execute(sa.update(agents).where(agents.c.id == agent_id).values(state=state))
