"""/plans: what is promised."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from commserve.access.roles import Permission
from commserve.api.call import Call, posts, reads, writes
from commserve.api.paging import Cursor, Limit, Page, page
from commserve.api.shapes import Id, Moment
from commserve.faults import RequestInvalid
from commserve.plans import retention
from commserve.plans.promise import Name, Promise, Retention, Schedule
from commserve.plans.schedule import next_due
from commserve.store.tables import machines, plans, points, pools

router = APIRouter(prefix="/plans", tags=["plans"])
SCOPES = {"plan": plans.c.id}
_SIMULATED = timedelta(days=2 * 366)
_MOST_POINTS = 3000
_PROMISE = set(Promise.model_fields)


class PlanIn(Promise):
    name: Name
    pool_id: Id | None = Field(default=None, description="where recovery points go; none: nothing is backed up yet")
    enabled: bool = True


class Plan(BaseModel):
    id: str
    name: str
    pool_id: str | None
    enabled: bool
    schedule: Schedule
    retention: Retention
    limits: Any
    hold: Any
    level: int
    sla_minutes: int
    created_at: Moment
    next_due_at: Moment | None


class RetentionPreviewIn(Promise):
    """A promise to try. With `machine_id`, on its recovery points; else on two years of the schedule."""

    machine_id: Id | None = None


class PreviewPoint(BaseModel):
    id: str
    time: Moment
    kept: tuple[str, ...] = Field(description="why it stays; empty: it expires")


class RetentionPreview(BaseModel):
    simulated: bool
    kept: int
    expiring: int
    points: list[PreviewPoint] = Field(description="newest first")


@router.get("", response_model=Page[Plan])
def list_plans(
    call: Annotated[Call, reads(Permission.PLANS_READ)],
    limit: Limit = 100,
    cursor: Cursor = None,
    name: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    wanted = sa.select(plans).where(call.visible(SCOPES))
    if name is not None:
        wanted = wanted.where(plans.c.name == name)
    return call.answer(page(call.connection, wanted, plans.c.id, limit, cursor, _show))


@router.post("", status_code=201, response_model=Plan)
def add_plan(body: PlanIn, call: Annotated[Call, posts(Permission.PLANS_WRITE)]) -> Response:
    """Protects nothing until a rule names it."""
    call.authorize()
    key = call.services.ids.new(call.now)
    call.connection.execute(sa.insert(plans).values(id=key, created_at=call.now, **_row(call, body)))
    return call.answer(_read(call, key), 201, location=f"/api/v1/plans/{key}")


@router.post("/retention-preview", response_model=RetentionPreview)
def preview_retention(body: RetentionPreviewIn, call: Annotated[Call, reads(Permission.PLANS_READ)]) -> Response:
    """Which recovery points would stay, and why."""
    found = _simulated(body.schedule, call.now) if body.machine_id is None else _points_of(call, body.machine_id)
    verdict = retention.judge(found, body.retention, body.schedule.time_zone)
    shown = [PreviewPoint(id=p.id, time=p.time, kept=verdict.kept.get(p.id, ())) for p in reversed(found)]
    counts = {"kept": len(verdict.kept), "expiring": len(verdict.expiring)}
    return call.answer(RetentionPreview(simulated=body.machine_id is None, points=shown, **counts))


@router.get("/{plan_id}", response_model=Plan)
def show_plan(plan_id: Id, call: Annotated[Call, reads(Permission.PLANS_READ)]) -> Response:
    return call.answer(_read(call, plan_id))


@router.put("/{plan_id}", response_model=Plan)
def change_plan(plan_id: Id, body: PlanIn, call: Annotated[Call, writes(Permission.PLANS_WRITE)]) -> Response:
    """Holds for jobs that are made from now on."""
    call.expect(_read(call, plan_id))
    call.connection.execute(sa.update(plans).where(plans.c.id == plan_id).values(**_row(call, body)))
    return call.answer(_read(call, plan_id))


@router.delete("/{plan_id}", status_code=204)
def remove_plan(plan_id: Id, call: Annotated[Call, writes(Permission.PLANS_WRITE)]) -> Response:
    """Refused while a rule names it. Recovery points stay, and nothing expires them any more."""
    call.expect(_read(call, plan_id))
    call.connection.execute(sa.delete(plans).where(plans.c.id == plan_id))
    return call.answer(None, 204)


def _row(call: Call, body: PlanIn) -> dict[str, Any]:
    """The schedule counts from now on: what was due under the old one is not made up for."""
    known = sa.select(pools.c.id).where(pools.c.id == body.pool_id)
    if body.pool_id is not None and call.connection.execute(known).one_or_none() is None:
        raise RequestInvalid(f"pool_id: no pool {body.pool_id!r}")
    return {
        "name": body.name,
        "pool_id": body.pool_id,
        "enabled": body.enabled,
        "promise": body.model_dump(mode="json", include=_PROMISE),
        "looked_at": call.now,
        "next_due_at": next_due(body.schedule, call.now) if body.enabled else None,
    }


def _read(call: Call, key: str) -> Plan:
    return _show(call.row(plans, key, SCOPES, Permission.PLANS_READ))


def _show(row: dict[str, Any]) -> Plan:
    return Plan.model_validate({**row, **Promise.model_validate(row["promise"]).model_dump()})


def _points_of(call: Call, machine_id: str) -> list[retention.Point]:
    from_machines = {
        "hypervisor": machines.c.hypervisor_id, "plan": machines.c.plan_id, "group": machines.c.rule_id
    }  # fmt: skip
    call.permission = Permission.MACHINES_READ
    call.row(machines, machine_id, from_machines, Permission.MACHINES_READ)
    wanted = sa.select(points).where(points.c.machine_id == machine_id, points.c.expired.is_(False))
    rows = call.connection.execute(wanted.order_by(points.c.id))
    return [retention.Point(row.id, row.time, frozenset(row.marks)) for row in rows]


def _simulated(schedule: Schedule, now: datetime) -> list[retention.Point]:
    """As if every run of two years had made its point, or of a shorter time where those are too many."""
    probe = list(itertools.islice(_dues(schedule, now - _SIMULATED), 50))
    usual = (probe[-1] - probe[0]) / (len(probe) - 1) if len(probe) > 1 else _SIMULATED
    start = max(now - _SIMULATED, now - usual * _MOST_POINTS)
    times = itertools.takewhile(lambda due: due <= now, _dues(schedule, start))
    return [retention.Point(f"{number:010x}", time) for number, time in enumerate(times)]


def _dues(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    due = next_due(schedule, after)
    while due is not None:
        yield due
        due = next_due(schedule, due)
