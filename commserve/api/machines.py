"""/machines: what was discovered, and what protects it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from json.encoder import encode_basestring_ascii
from typing import Annotated, Any, Literal, NotRequired, cast

import sqlalchemy as sa
from fastapi import APIRouter, Query, Response
from pydantic import Field
from typing_extensions import TypedDict

from commserve.access.roles import Permission
from commserve.api.call import Call, reads, writes
from commserve.api.paging import Cursor, Limit, Page, page_text
from commserve.api.shapes import Id, Input, MomentIn
from commserve.faults import RequestInvalid
from commserve.moments import text_of
from commserve.plans.promise import Promise
from commserve.plans.sla import is_met
from commserve.store.tables import Instant, machines, plans

router = APIRouter(prefix="/machines", tags=["machines"])
_TIMES = ("excluded_until", "last_point_at", "last_seen_at", "gone_at")
SCOPES = {"hypervisor": machines.c.hypervisor_id, "plan": machines.c.plan_id, "group": machines.c.rule_id}


Sla = Literal["met", "missed", "none", "excluded"]


class Disk(TypedDict):
    key: str
    name: str
    size: int
    reason: NotRequired[str]  # why it is left out of backups


class SnapshotLeft(TypedDict):
    job: str
    fence: int
    taken_at: str


class Leftovers(TypedDict):
    """What jobs, over or not, have at a machine, as the last discovery saw it; empty where nothing is."""

    snapshots: NotRequired[list[SnapshotLeft]]
    consolidation_needed: NotRequired[bool]
    restoring: NotRequired[str]  # the restore job that has it half-made


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
    resource_pool: str
    host: str
    datastores: list[str]
    leftovers: Leftovers
    rule_id: str | None
    plan_id: str | None
    sla: Sla
    excluded_reason: str
    excluded_by: str
    excluded_until: str | None
    strikes: int
    last_point_at: str | None
    last_seen_at: str
    gone_at: str | None


_NAMES = tuple(Machine.__annotations__)
_SLA_AT = _NAMES.index("sla")
_WRITTEN = tuple(
    # a document is taken as the text that it is: it need not be read to be written again
    sa.cast(column, sa.Text).label(column.name) if isinstance(column.type, sa.JSON) else column
    for column in (machines.c[name] for name in _NAMES if name != "sla")
)
_PLAIN: dict[type, Callable[[Any], str]] = {
    sa.BigInteger: str,
    sa.Boolean: lambda value: "true" if value else "false",
}
_FORM = "{" + ",".join(f'"{name}":%s' for name in _NAMES) + "}"


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
    wanted = sa.select(*_WRITTEN).where(call.visible(SCOPES))
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
    writer = _Writer(_promises(call.connection), call.now)
    return call.answer(page_text(call.connection, wanted, machines.c.id, limit, cursor, writer.write))


@router.get("/{machine_id}", response_model=Machine)
def show_machine(machine_id: Id, call: Annotated[Call, reads(Permission.MACHINES_READ)]) -> Response:
    return call.answer(_read(call, machine_id))


@router.put("/{machine_id}/exclusion", response_model=Machine)
def exclude_machine(
    machine_id: Id, body: Exclusion, call: Annotated[Call, writes(Permission.MACHINES_WRITE)]
) -> Response:
    """No backups of this machine until then; what runs goes on."""
    call.expect(_read(call, machine_id))
    if body.until <= call.now:
        raise RequestInvalid(f"until: expected a time to come, found {body.until.isoformat()}")
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
    shown = {name: row[name] for name in Machine.__annotations__ if name != "sla"}
    times = {name: row[name] and text_of(row[name]) for name in _TIMES}
    sla = _sla(promises.get(row["plan_id"]), row["excluded_until"], row["last_point_at"], now)
    return cast("Machine", {**shown, **times, "sla": sla})


def _sla(
    promise: Promise | None, excluded_until: datetime | None, last_point_at: datetime | None, now: datetime
) -> Sla:
    if excluded_until is not None and excluded_until > now:
        return "excluded"
    if promise is None or not promise.sla_minutes:
        return "none"
    return "met" if is_met(promise, last_point_at, now) else "missed"


class _Writer:
    """The JSON of rows of `_WRITTEN`: what `_show` says, for inventories of thousands."""

    def __init__(self, promises: dict[str, Promise], now: datetime) -> None:
        self._promises = promises
        self._now = now
        self._text_by_moment: dict[datetime | None, str] = {}  # one discovery sees thousands at one moment
        columns = [machines.c[column.name] for column in _WRITTEN]
        self._write_by_column = [self._writing(column.type, null=bool(column.nullable)) for column in columns]

    def write(self, row: Any) -> str:
        """Cells in the order of `_WRITTEN`, and `sla` in its place."""
        cells = [write(cell) for write, cell in zip(self._write_by_column, row, strict=True)]
        sla = _sla(self._promises.get(row.plan_id), row.excluded_until, row.last_point_at, self._now)
        cells.insert(_SLA_AT, f'"{sla}"')
        return _FORM % tuple(cells)

    def _writing(self, kind: sa.types.TypeEngine[Any], *, null: bool) -> Callable[[Any], str]:
        if isinstance(kind, Instant):
            return self._moment
        if isinstance(kind, sa.JSON):
            return str  # text already
        if isinstance(kind, sa.Text) and not null:
            return encode_basestring_ascii
        return json.dumps if null else _PLAIN[type(kind)]

    def _moment(self, moment: datetime | None) -> str:
        if moment not in self._text_by_moment:
            self._text_by_moment[moment] = "null" if moment is None else f'"{text_of(moment)}"'
        return self._text_by_moment[moment]
