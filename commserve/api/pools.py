"""/pools: the repositories that MediaAgents keep."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field, field_validator

from commserve.access.roles import Permission
from commserve.api.call import Call, posts, reads, writes
from commserve.api.jobs import Job, show_row
from commserve.api.paging import Cursor, Limit, Page, page
from commserve.api.shapes import Id, Input, Moment
from commserve.faults import InUse, RequestInvalid, StateForbids
from commserve.jobs.backlog import submit_one
from commserve.jobs.kinds import URGENT, USUAL, Kind, Wanted
from commserve.jobs.states import ACTIVE, State
from commserve.plans.promise import BytesPerSecond, Name
from commserve.store.tables import agents, jobs, pool_agents, pools, sealed_secrets
from commserve.trust.secrets import forget, seal_to

router = APIRouter(prefix="/pools", tags=["pools"])
_SOON = timedelta(hours=1)


class S3Secret(Input):
    """Credentials of S3. They are sealed to the MediaAgents at once and never shown again."""

    access_key_id: str = Field(min_length=1, max_length=500)
    secret_access_key: str = Field(min_length=1, max_length=500)
    session_token: str | None = Field(default=None, min_length=1, max_length=8000, description="of temporary ones")

    @property
    def text(self) -> str:
        return self.model_dump_json(exclude_none=True)


class PoolIn(Input):
    name: Name
    url: str = Field(min_length=1, max_length=2000, description="as the MediaAgent sees it, without secrets")
    agents: list[Id] = Field(min_length=1, max_length=100, description="the MediaAgents; the first one makes it")
    encrypted: bool = True
    average_chunk_bytes: Annotated[int, Field(ge=0, le=1 << 20)] = Field(default=0, description="0: the default")
    secret: S3Secret | None = Field(default=None, description="of an s3:// URL; without it the agents' own counts")

    @field_validator("url")
    @classmethod
    def _without_secrets(cls, url: str) -> str:
        """It is kept and shown as it is. Whether anything lies there the MediaAgent finds out."""
        if "@" in urlsplit(url).netloc:
            raise ValueError("expected no credentials in the URL, found some before @; they are its secret")
        return url


class PoolChange(Input):
    name: Name
    bytes_per_second: BytesPerSecond = Field(default=0, description="of all that is written to it and read from it")


class PoolSecretIn(Input):
    secret: S3Secret
    agents: list[Id] = Field(default=[], max_length=100, description="who gets it; none: all that keep the pool")


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
    _expect_media_agents(call, body.agents)
    key = call.services.ids.new(call.now)
    call.connection.execute(sa.insert(pools).values(id=key, name=body.name, url=body.url, created_at=call.now))
    asked = body.model_dump(include={"name", "url", "encrypted", "average_chunk_bytes"})
    _submit(call, "create_pool", f"pool:{key}", key, asked, agent_id=body.agents[0], attempts=1)
    if body.secret is not None:
        _give(call, key, body.url, body.secret, body.agents, body.agents[1:])
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
    forget(call.connection, f"pool:{pool_id}")
    return call.answer(None, 204)


@router.put("/{pool_id}/secret", response_model=Pool)
def replace_secret(pool_id: Id, body: PoolSecretIn, call: Annotated[Call, writes(Permission.POOLS_WRITE)]) -> Response:
    """A job for each of its MediaAgents (`GET /jobs?pool_id=...&kind=keep_secret`) replaces the credentials there.

    Each tries them first; where the place refuses them, those before stay.
    """
    found = _read(call, pool_id)
    call.expect(found)
    _expect_media_agents(call, body.agents)
    had = sa.select(sealed_secrets.c.agent_id).where(sealed_secrets.c.owner == f"pool:{pool_id}")
    keep = {*found.agents, *call.connection.execute(had).scalars()}
    to = body.agents or sorted(keep & _media_agents(call))
    if not to:
        raise RequestInvalid("agents: expected some, for no active MediaAgent keeps the pool")
    _give(call, pool_id, found.url, body.secret, to, to)
    return call.answer(_read(call, pool_id))


def _expect_media_agents(call: Call, agent_ids: list[str]) -> None:
    missing = set(agent_ids) - _media_agents(call)
    if missing:
        raise RequestInvalid(f"agents: {min(missing)!r} is no active MediaAgent")


def _media_agents(call: Call) -> set[str]:
    media = sa.select(agents.c.id).where(agents.c.role == "mediaagent", agents.c.state.in_(["active", "draining"]))
    return set(call.connection.execute(media).scalars())


def _give(call: Call, pool_id: str, url: str, secret: S3Secret, sealed_to: list[str], told: list[str]) -> None:
    """Seal a secret, and have `told` keep it; a job that nobody took yet takes the new one by itself."""
    if not url.startswith("s3://"):
        raise RequestInvalid("secret: expected none, for credentials belong to an s3:// URL")
    seal_to(call.connection, f"pool:{pool_id}", secret.text, sealed_to, call.now)
    for agent_id in told:
        subject = f"secret:{pool_id}:{agent_id}"
        waits = sa.select(jobs.c.id).where(jobs.c.subject == subject, jobs.c.state == State.QUEUED)
        if call.connection.execute(waits).first() is None:
            _submit(call, "keep_secret", subject, pool_id, {"url": url}, agent_id=agent_id)


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
