"""/machines: what was discovered, and what protects it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, cast

import sqlalchemy as sa
from fastapi import APIRouter, Query, Response
from pydantic import Field
from typing_extensions import TypedDict

from commserve.access.roles import Permission
from commserve.api.call import Call, reads, writes
from commserve.api.paging import Cursor, Limit, Page, page
from commserve.api.shapes import Id, Input, MomentIn
from commserve.moments import text_of
from commserve.plans.promise import Promise
from commserve.plans.sla import is_met
from commserve.store.tables import machines, plans

router = APIRouter(prefix="/machines", tags=["machines"])
_TIMES = ("excluded_until", "last_point_at", "last_seen_at", "gone_at")
SCOPES = {"hypervisor": machines.c.hypervisor_id, "plan": machines.c.plan_id, "group": machines.c.rule_id}


class Disk(TypedDict):
    key: str
    name: str
    size: int


class Machine(TypedDict):
    """Not a model, which would look at every value again: an inventory of 20 000 lists in half the time."""

    id: str
    name: str
    hypervisor_id: str
    folder: str
    tags: list[str]
    power_state: str
    attributes: dict[str, str]
    disks: list[Disk]
    size_bytes: int
    protectable: bool
    reason: str
    rule_id: str | None
    plan_id: str | None
    sla: Literal["met", "missed", "none", "excluded"]
    excluded_reason: str
    excluded_by: str
    excluded_until: str | None
    strikes: int
    last_point_at: str | None
    last_seen_at: str
    gone_at: str | None


class Exclusion(Input):
    """A person leaves a machine out until a date on which it comes back by itself."""

    reason: str = Field(min_length=1, max_length=500)
    until: MomentIn


@router.get("", response_model=Page[Machine])
def list_machines(
    call: Annotated[Call, reads(Permission.MACHINES_READ)],
    limit: Limit = 100,
    cursor: Cursor = None,
    hypervisor_id: Annotated[str | None, Query(max_length=200)] = None,
    plan_id: Annotated[str | None, Query(max_length=200)] = None,
    name: Annotated[str | None, Query(max_length=200, description="exactly")] = None,
    protected: Annotated[bool | None, Query(description="has a plan")] = None,
    gone: Annotated[bool, Query(description="also those that are gone")] = False,
) -> Response:
    """By id."""
    wanted = sa.select(machines).where(call.visible(SCOPES))
    if hypervisor_id is not None:
        wanted = wanted.where(machines.c.hypervisor_id == hypervisor_id)
    if plan_id is not None:
        wanted = wanted.where(machines.c.plan_id == plan_id)
    if name is not None:
        wanted = wanted.where(machines.c.name == name)
    if protected is not None:
        wanted = wanted.where(machines.c.plan_id.isnot(None) if protected else machines.c.plan_id.is_(None))
    if not gone:
        wanted = wanted.where(machines.c.gone_at.is_(None))
    promises = _promises(call.connection)
    show = lambda row: _show(row, promises, call.now)  # noqa: E731
    return call.answer(page(call.connection, wanted, machines.c.id, limit, cursor, show))


@router.get("/{machine_id}", response_model=Machine)
def show_machine(machine_id: Id, call: Annotated[Call, reads(Permission.MACHINES_READ)]) -> Response:
    return call.answer(_read(call, machine_id))


@router.put("/{machine_id}/exclusion", response_model=Machine)
def exclude_machine(
    machine_id: Id, body: Exclusion, call: Annotated[Call, writes(Permission.MACHINES_WRITE)]
) -> Response:
    """No backups of this machine until then; what runs goes on."""
    call.expect(_read(call, machine_id))
    _set(call, machine_id, body.reason, call.person.name, body.until)
    return call.answer(_read(call, machine_id))


@router.delete("/{machine_id}/exclusion", response_model=Machine)
def include_machine(machine_id: Id, call: Annotated[Call, writes(Permission.MACHINES_WRITE)]) -> Response:
    call.expect(_read(call, machine_id))
    _set(call, machine_id, "", "", None)
    return call.answer(_read(call, machine_id))


def _set(call: Call, machine_id: str, reason: str, who: str, until: datetime | None) -> None:
    change = sa.update(machines).where(machines.c.id == machine_id)
    call.connection.execute(change.values(excluded_reason=reason, excluded_by=who, excluded_until=until))


def _read(call: Call, machine_id: str) -> Machine:
    row = call.row(machines, machine_id, SCOPES, Permission.MACHINES_READ)
    return _show(row, _promises(call.connection), call.now)


def _promises(connection: sa.Connection) -> dict[str, Promise]:
    return {row.id: Promise.model_validate(row.promise) for row in connection.execute(sa.select(plans))}


def _show(row: dict[str, Any], promises: dict[str, Promise], now: datetime) -> Machine:
    promise = promises.get(row["plan_id"])
    sla: Literal["met", "missed", "none", "excluded"] = "none"
    if row["excluded_until"] is not None and row["excluded_until"] > now:
        sla = "excluded"
    elif promise is not None and promise.sla_minutes:
        sla = "met" if is_met(promise, row["last_point_at"], now) else "missed"
    shown = {name: row[name] for name in Machine.__annotations__ if name != "sla"}
    times = {name: row[name] and text_of(row[name]) for name in _TIMES}
    return cast("Machine", {**shown, **times, "sla": sla})
