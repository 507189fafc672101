"""/pools: the repositories that MediaAgents keep."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from commserve.access.roles import Permission
from commserve.api.call import Call, posts, reads, writes
from commserve.api.jobs import Job, show_row
from commserve.api.paging import Cursor, Limit, Page, page
from commserve.api.shapes import Id, Input, Moment
from commserve.faults import InUse, RequestInvalid, StateForbids
from commserve.jobs.backlog import submit_one
from commserve.jobs.kinds import URGENT, USUAL, Kind, Wanted
from commserve.jobs.states import ACTIVE
from commserve.plans.promise import BytesPerSecond, Name
from commserve.store.tables import agents, jobs, pool_agents, pools
from commserve.trust.secrets import seal_to

router = APIRouter(prefix="/pools", tags=["pools"])
_SOON = timedelta(hours=1)


class PoolIn(Input):
    name: Name
    url: str = Field(min_length=1, max_length=2000, description="as the MediaAgent sees it, without secrets")
    agents: list[Id] = Field(min_length=1, max_length=100, description="the MediaAgents; the first one makes it")
    encrypted: bool = True
    average_chunk_bytes: Annotated[int, Field(ge=0, le=1 << 20)] = Field(default=0, description="0: the default")
    secret: str | None = Field(default=None, max_length=10_000, description="of the place (S3); never shown again")


class PoolChange(Input):
    name: Name
    bytes_per_second: BytesPerSecond = Field(default=0, description="of all that is written to it and read from it")


class Pool(BaseModel):
    id: str
    name: str
    url: str
    repository_id: str | None
    state: str = Field(description="making | ready | failed")
    reason: str
    agents: list[str]
    bytes_per_second: int
    created_at: Moment
    read_at: Moment | None = Field(description="when its list of recovery points was read last")


@router.get("", response_model=Page[Pool])
def list_pools(
    call: Annotated[Call, reads(Permission.POOLS_READ)],
    limit: Limit = 100,
    cursor: Cursor = None,
    name: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """Pools belong to nobody's part of the world: a binding on everything is needed."""
    wanted = sa.select(pools).where(call.visible({}))
    if name is not None:
        wanted = wanted.where(pools.c.name == name)
    return call.answer(page(call.connection, wanted, pools.c.id, limit, cursor, lambda row: _show(call, row)))


@router.post("", status_code=201, response_model=Pool)
def add_pool(body: PoolIn, call: Annotated[Call, posts(Permission.POOLS_WRITE)]) -> Response:
    """A job has the first agent make the repository; the pool is ready when that is done."""
    call.authorize()
    media = sa.select(agents.c.id).where(agents.c.role == "mediaagent", agents.c.state.in_(["active", "draining"]))
    missing = set(body.agents) - set(call.connection.execute(media).scalars())
    if missing:
        raise RequestInvalid(f"agents: {min(missing)!r} is no active MediaAgent")
    key = call.services.ids.new(call.now)
    call.connection.execute(sa.insert(pools).values(id=key, name=body.name, url=body.url, created_at=call.now))
    if body.secret is not None:
        seal_to(call.connection, f"pool:{key}", body.secret, body.agents, call.now)
    asked = body.model_dump(include={"name", "url", "encrypted", "average_chunk_bytes"})
    _submit(call, "create_pool", f"pool:{key}", key, asked, agent_id=body.agents[0], attempts=1)
    return call.answer(_read(call, key), 201, location=f"/api/v1/pools/{key}")


@router.get("/{pool_id}", response_model=Pool)
def show_pool(pool_id: Id, call: Annotated[Call, reads(Permission.POOLS_READ)]) -> Response:
    return call.answer(_read(call, pool_id))


@router.put("/{pool_id}", response_model=Pool)
def change_pool(pool_id: Id, body: PoolChange, call: Annotated[Call, writes(Permission.POOLS_WRITE)]) -> Response:
    call.expect(_read(call, pool_id))
    call.connection.execute(sa.update(pools).where(pools.c.id == pool_id).values(**body.model_dump()))
    return call.answer(_read(call, pool_id))


@router.delete("/{pool_id}", status_code=204)
def forget_pool(pool_id: Id, call: Annotated[Call, writes(Permission.POOLS_WRITE)]) -> Response:
    """Refused while a plan names it or a job works on it. The repository and its key stay where they are."""
    call.expect(_read(call, pool_id))
    active = sa.select(jobs.c.id).where(jobs.c.pool_id == pool_id, jobs.c.state.in_(ACTIVE))
    busy = call.connection.execute(active).first()
    if busy is not None:
        raise InUse(f"job {busy.id} works on it")
    call.connection.execute(sa.delete(pools).where(pools.c.id == pool_id))
    return call.answer(None, 204)


@router.post("/{pool_id}/read", status_code=201, response_model=Job)
def read_pool(pool_id: Id, call: Annotated[Call, posts(Permission.POOLS_WRITE)]) -> Response:
    """Read its list of recovery points back."""
    return _job(call, pool_id, "read_points", "points")


@router.post("/{pool_id}/verify", status_code=201, response_model=Job)
def verify_pool(pool_id: Id, call: Annotated[Call, posts(Permission.POOLS_WRITE)]) -> Response:
    """Read everything and compare."""
    return _job(call, pool_id, "verify", "verify", {"points": []})


@router.post("/{pool_id}/rebuild", status_code=201, response_model=Job)
def rebuild_pool(pool_id: Id, call: Annotated[Call, posts(Permission.POOLS_WRITE)]) -> Response:
    """Build its dedup database anew from the repository."""
    return _job(call, pool_id, "rebuild", "rebuild")


def _job(call: Call, pool_id: str, kind: Kind, subject: str, asked: dict[str, Any] | None = None) -> Response:
    found = _read(call, pool_id)
    if found.state != "ready":
        raise StateForbids(f"pool {found.name} is {found.state}")
    key = _submit(call, kind, f"{subject}:{pool_id}", pool_id, asked or {})
    row = call.connection.execute(sa.select(jobs).where(jobs.c.id == key)).one()
    return call.answer(show_row(row._asdict()), 201, location=f"/api/v1/jobs/{key}")


def _submit(
    call: Call,
    kind: Kind,
    subject: str,
    pool_id: str,
    asked: dict[str, Any],
    *,
    agent_id: str | None = None,
    attempts: int = 3,
) -> str:
    wanted = Wanted(
        kind=kind,
        subject=subject,
        due_at=call.now,
        deadline_at=call.now + _SOON,
        requested_by=call.person.name,
        urgency=USUAL if kind in ("verify", "rebuild") else URGENT,
        pool_id=pool_id,
        wanted_agent_id=agent_id,
        attempts_allowed=attempts,
        arguments=asked,
    )
    key = submit_one(call.connection, call.services.ids, wanted, call.now)
    call.new_work = True
    return key


def _read(call: Call, key: str) -> Pool:
    return _show(call, call.row(pools, key, {}, Permission.POOLS_READ))


def _show(call: Call, row: dict[str, Any]) -> Pool:
    keeping = sa.select(pool_agents.c.agent_id).where(pool_agents.c.pool_id == row["id"])
    return Pool.model_validate({**row, "agents": sorted(call.connection.execute(keeping).scalars())})
