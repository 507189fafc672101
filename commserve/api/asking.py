"""Routes that make jobs because somebody asks: backups, discoveries, restores."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Response
from pydantic import Field

from commserve.access.roles import Permission, Scope
from commserve.api import hypervisors, machines, plans
from commserve.api.call import Call, posts
from commserve.api.jobs import Job, Run, read
from commserve.api.points import SCOPES as POINT_SCOPES
from commserve.api.points import known_points
from commserve.api.shapes import Id, Input
from commserve.faults import NoAgent, NotFound, RequestInvalid, StateForbids
from commserve.jobs.backlog import backup_of, start_run, submit_one
from commserve.jobs.kinds import URGENT, Wanted
from commserve.plans.promise import Promise
from commserve.store.tables import agents, runs
from commserve.store.tables import hypervisors as hypervisors_table
from commserve.store.tables import machines as machines_table
from commserve.store.tables import plans as plans_table

router = APIRouter(tags=["jobs"])
_SOON = timedelta(hours=1)


class RestoreIn(Input):
    pool_id: Id
    point: str = Field(pattern=r"^[0-9a-f]{10}$")
    directory: str = Field(
        pattern=r"^/[^\x00]*$", max_length=4000, description="below a landing directory of the agent"
    )
    disks: list[Annotated[int, Field(ge=0, lt=1 << 16)]] = Field(default=[], max_length=1000, description="none: all")
    agent_id: Id | None = Field(
        default=None, description="the VSA that writes; may be left out where there is one only"
    )
    format: Literal["raw"] = "raw"
    overwrite: bool = False


@router.post("/plans/{plan_id}/run", status_code=201, response_model=Run)
def run_plan(plan_id: Id, call: Annotated[Call, posts(Permission.JOBS_RUN)]) -> Response:
    """A run of the whole plan now, window or not. Machines that have a job already keep that one."""
    call.row(plans_table, plan_id, plans.SCOPES, Permission.PLANS_READ)
    plan = call.connection.execute(sa.select(plans_table).where(plans_table.c.id == plan_id)).one()
    if plan.pool_id is None:
        raise StateForbids(f"plan {plan.name} has no pool")
    run_id = start_run(call.connection, call.services.ids, plan, call.now, call.now, call.person.name)
    if run_id is None:
        raise StateForbids(f"plan {plan.name} has a run of this instant")
    call.new_work = True
    row = call.connection.execute(sa.select(runs).where(runs.c.id == run_id)).one()
    return call.answer(Run.model_validate(row._asdict()), 201, location=f"/api/v1/runs/{run_id}")


@router.post("/machines/{machine_id}/backup", status_code=201, response_model=Job)
def back_up_machine(machine_id: Id, call: Annotated[Call, posts(Permission.JOBS_RUN)]) -> Response:
    """One machine now, as its plan says."""
    call.row(machines_table, machine_id, machines.SCOPES, Permission.MACHINES_READ)
    machine = call.connection.execute(sa.select(machines_table).where(machines_table.c.id == machine_id)).one()
    plan = call.connection.execute(sa.select(plans_table).where(plans_table.c.id == machine.plan_id)).one_or_none()
    if plan is None or plan.pool_id is None or not machine.protectable or machine.gone_at is not None:
        raise StateForbids(f"machine {machine.name} has no plan with a pool, or cannot be protected: {machine.reason}")
    promise = Promise.model_validate(plan.promise)
    return _submitted(call, backup_of(machine, plan, promise, call.now, call.now, requested_by=call.person.name))


@router.post("/hypervisors/{hypervisor_id}/discover", status_code=201, response_model=Job)
def discover_machines(hypervisor_id: Id, call: Annotated[Call, posts(Permission.JOBS_RUN)]) -> Response:
    """Look for machines now."""
    call.row(hypervisors_table, hypervisor_id, hypervisors.SCOPES, Permission.HYPERVISORS_READ)
    wanted = Wanted(
        kind="discover",
        subject=f"hypervisor:{hypervisor_id}",
        due_at=call.now,
        deadline_at=call.now + _SOON,
        requested_by=call.person.name,
        urgency=URGENT,
        hypervisor_id=hypervisor_id,
    )
    return _submitted(call, wanted)


@router.post("/restores", status_code=201, response_model=Job)
def restore_point(body: RestoreIn, call: Annotated[Call, posts(Permission.POINTS_RESTORE)]) -> Response:
    """Disks of a recovery point as image files. Comes before everything else that waits."""
    point = call.connection.execute(known_points().where(*_named(body))).mappings().one_or_none()
    if point is None:
        raise NotFound(f"points: no {body.point!r} in pool {body.pool_id!r}")
    lies_in = {Scope(kind, point[column.name]) for kind, column in POINT_SCOPES.items() if point[column.name]}
    call.authorize(Scope("everything"), *lies_in)
    if point["expired"]:
        raise StateForbids(f"point {body.point} is expired")
    agent_id = _restorer(call, body.agent_id)
    wanted = Wanted(
        kind="restore",
        subject=f"restore:{agent_id}:{body.directory.rstrip('/')}",
        due_at=call.now,
        deadline_at=call.now + _SOON,
        requested_by=call.person.name,
        urgency=URGENT,
        plan_id=point["plan_id"],
        rule_id=point["rule_id"],
        hypervisor_id=point["hypervisor_id"],
        pool_id=body.pool_id,
        machine_id=point["machine_id"],
        machine_name=point["machine_name"],
        wanted_agent_id=agent_id,
        attempts_allowed=3,
        arguments=body.model_dump(include={"point", "directory", "disks", "format", "overwrite"}),
    )
    return _submitted(call, wanted)


def _named(body: RestoreIn) -> tuple[Any, ...]:
    columns = known_points().selected_columns
    return columns.pool_id == body.pool_id, columns.id == body.point


def _restorer(call: Call, asked: str | None) -> str:
    """The VSA that restores. Raises RequestInvalid, NoAgent."""
    active = sa.select(agents.c.id).where(agents.c.role == "vsa", agents.c.state == "active")
    there = list(call.connection.execute(active).scalars())
    if asked is not None:
        if asked not in there:
            raise RequestInvalid(f"agent_id: {asked!r} is no active VSA")
        return asked
    if len(there) != 1:
        raise NoAgent(f"agent_id: expected one active VSA to choose by itself, found {len(there)}")
    return str(there[0])


def _submitted(call: Call, wanted: Wanted) -> Response:
    key = submit_one(call.connection, call.services.ids, wanted, call.now)
    call.new_work = True
    call.permission = Permission.JOBS_READ
    return call.answer(read(call, key), 201, location=f"/api/v1/jobs/{key}")
