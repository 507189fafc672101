"""/hypervisors: vCenters, hosts, directories of images."""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from commserve.access.roles import Permission
from commserve.api.call import Call, posts, reads, writes
from commserve.api.paging import Cursor, Limit, Page, page
from commserve.api.shapes import Id, Input, Moment
from commserve.faults import InUse, RequestInvalid, SecretNeeded
from commserve.inventory.continuing import adopt
from commserve.inventory.kinds import check_secret, check_settings, needs_secret
from commserve.jobs.states import ACTIVE, State
from commserve.plans.promise import Name
from commserve.store.tables import agents, hypervisor_agents, hypervisors, jobs
from commserve.trust.secrets import forget, seal_to

router = APIRouter(prefix="/hypervisors", tags=["hypervisors"])
SCOPES = {"hypervisor": hypervisors.c.id}
_WHERE_SECRETS_GO = ("address", "user", "authority", "fingerprint")


class HypervisorIn(Input):
    name: Name
    kind: str = Field(max_length=50, examples=["images"])
    settings: dict[str, Any] = Field(examples=[{"directory": "/srv/images"}])
    agents: list[Id] = Field(default=[], max_length=1000, description="the VSAs that reach it; none: any")
    concurrency: Annotated[int, Field(ge=0, le=10_000)] = Field(
        default=4, description="backups at one time; 0: no limit"
    )
    discover_minutes: Annotated[int, Field(ge=1, le=7 * 24 * 60)] = 15
    secret: str | None = Field(
        default=None, max_length=10_000, description="sealed to the agents at once and never shown again"
    )


class Hypervisor(BaseModel):
    id: str
    name: str
    kind: str
    settings: dict[str, Any]
    agents: list[str]
    concurrency: int
    discover_minutes: int
    created_at: Moment
    discovered_at: Moment | None


class Adoption(Input):
    old: Id = Field(description="the hypervisor that will not come back")


class Adopted(BaseModel):
    machines: int = Field(description="that go on")


@router.get("", response_model=Page[Hypervisor])
def list_hypervisors(
    call: Annotated[Call, reads(Permission.HYPERVISORS_READ)],
    limit: Limit = 100,
    cursor: Cursor = None,
    name: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """Those that the caller may know of."""
    wanted = sa.select(hypervisors).where(call.visible(SCOPES))
    if name is not None:
        wanted = wanted.where(hypervisors.c.name == name)
    return call.answer(page(call.connection, wanted, hypervisors.c.id, limit, cursor, lambda row: _show(call, row)))


@router.post("", status_code=201, response_model=Hypervisor)
def add_hypervisor(body: HypervisorIn, call: Annotated[Call, posts(Permission.HYPERVISORS_WRITE)]) -> Response:
    """Its machines are discovered as soon as an agent is there."""
    call.authorize()
    check_settings(body.kind, body.settings)
    check_secret(body.kind, body.agents, body.secret)
    key = call.services.ids.new(call.now)
    row = body.model_dump(exclude={"agents", "secret"})
    call.connection.execute(sa.insert(hypervisors).values(id=key, created_at=call.now, **row))
    _bind(call, key, body)
    return call.answer(_read(call, key), 201, location=f"/api/v1/hypervisors/{key}")


@router.get("/{hypervisor_id}", response_model=Hypervisor)
def show_hypervisor(hypervisor_id: Id, call: Annotated[Call, reads(Permission.HYPERVISORS_READ)]) -> Response:
    return call.answer(_read(call, hypervisor_id))


@router.put("/{hypervisor_id}", response_model=Hypervisor)
def change_hypervisor(
    hypervisor_id: Id, body: HypervisorIn, call: Annotated[Call, writes(Permission.HYPERVISORS_WRITE)]
) -> Response:
    """Its kind stays what it is."""
    found = _read(call, hypervisor_id)
    call.expect(found)
    if found.kind != body.kind:
        raise RequestInvalid(f"kind: is {found.kind!r} and stays so; add another hypervisor")
    check_settings(body.kind, body.settings)
    moved = [name for name in _WHERE_SECRETS_GO if body.settings.get(name) != found.settings.get(name)]
    if moved and body.secret is None and needs_secret(body.kind):
        raise SecretNeeded(f"settings.{moved[0]}: changed, so the secret has to come with it; it is not sent elsewhere")
    change = sa.update(hypervisors).where(hypervisors.c.id == hypervisor_id)
    call.connection.execute(change.values(**body.model_dump(exclude={"agents", "kind", "secret"})))
    _bind(call, hypervisor_id, body)
    return call.answer(_read(call, hypervisor_id))


@router.post("/{hypervisor_id}/adopt", response_model=Adopted)
def adopt_machines(
    hypervisor_id: Id, body: Adoption, call: Annotated[Call, posts(Permission.HYPERVISORS_WRITE)]
) -> Response:
    """Another hypervisor will not come back: its vCenter was built anew, as this one. Its machines go on as those here.

    A machine here with the same instance uuid, and no recovery point yet, takes the place, id and points of the other.
    """
    new, old = _read(call, hypervisor_id), _read(call, body.old)
    call.authorize()
    if new.id == old.id:
        raise RequestInvalid("old: expected another hypervisor, found the same")
    if new.discovered_at is None:
        raise RequestInvalid(f"{new.name}: its machines were not discovered yet")
    return call.answer(Adopted(machines=adopt(call.connection, old.id, new.id, call.now)))


@router.delete("/{hypervisor_id}", status_code=204)
def forget_hypervisor(hypervisor_id: Id, call: Annotated[Call, writes(Permission.HYPERVISORS_WRITE)]) -> Response:
    """With its machines, whose jobs end. Their recovery points stay. Refused while a backup of one commits."""
    call.expect(_read(call, hypervisor_id))
    active = sa.select(jobs).where(jobs.c.hypervisor_id == hypervisor_id, jobs.c.state.in_(ACTIVE))
    for job in call.connection.execute(active).all():
        if job.state == State.COMMITTING:
            raise InUse(f"job {job.id} commits")
        if job.state != State.CANCELLING:
            call.services.progress.cancel(call.connection, job, call.person.name, call.now)
    call.connection.execute(sa.delete(hypervisors).where(hypervisors.c.id == hypervisor_id))
    forget(call.connection, f"hypervisor:{hypervisor_id}")
    return call.answer(None, 204)


def _read(call: Call, key: str) -> Hypervisor:
    return _show(call, call.row(hypervisors, key, SCOPES, Permission.HYPERVISORS_READ))


def _show(call: Call, row: dict[str, Any]) -> Hypervisor:
    bound = sa.select(hypervisor_agents.c.agent_id).where(hypervisor_agents.c.hypervisor_id == row["id"])
    agent_ids = sorted(call.connection.execute(bound).scalars())
    return Hypervisor.model_validate({**row, "agents": agent_ids})


def _bind(call: Call, key: str, body: HypervisorIn) -> None:
    agent_ids = sorted(set(body.agents))
    vsas = sa.select(agents.c.id).where(agents.c.id.in_(agent_ids), agents.c.role == "vsa", agents.c.state != "revoked")
    missing = set(agent_ids) - set(call.connection.execute(vsas).scalars())
    if missing:
        raise RequestInvalid(f"agents: {min(missing)!r} is no VSA of ours")
    call.connection.execute(sa.delete(hypervisor_agents).where(hypervisor_agents.c.hypervisor_id == key))
    for agent_id in agent_ids:
        call.connection.execute(sa.insert(hypervisor_agents).values(hypervisor_id=key, agent_id=agent_id))
    seal_to(call.connection, f"hypervisor:{key}", body.secret, agent_ids, call.now)
    call.new_work = True
