"""Routes that make jobs because somebody asks: backups, discoveries."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Response
from pydantic import Field

from commserve.access.roles import Permission
from commserve.api import hypervisors, machines, plans
from commserve.api.call import Call, posts
from commserve.api.jobs import Job, Run, read
from commserve.api.shapes import Id, Input
from commserve.faults import StateForbids
from commserve.inventory import leftovers
from commserve.jobs.backlog import backup_of, start_run, submit_one
from commserve.jobs.kinds import URGENT, Wanted
from commserve.plans.promise import Promise
from commserve.store.tables import hypervisors as hypervisors_table
from commserve.store.tables import machines as machines_table
from commserve.store.tables import plans as plans_table
from commserve.store.tables import runs

router = APIRouter(tags=["jobs"])
SOON = timedelta(hours=1)


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
    machine, plan = check_backup(call, machine_id)
    promise = Promise.model_validate(plan.promise)
    return submitted(call, backup_of(machine, plan, promise, call.now, call.now, requested_by=call.person.name))


@router.post("/hypervisors/{hypervisor_id}/discover", status_code=201, response_model=Job)
def discover_machines(hypervisor_id: Id, call: Annotated[Call, posts(Permission.JOBS_RUN)]) -> Response:
    """Look for machines now."""
    call.row(hypervisors_table, hypervisor_id, hypervisors.SCOPES, Permission.HYPERVISORS_READ)
    wanted = Wanted(
        kind="discover",
        subject=f"hypervisor:{hypervisor_id}",
        due_at=call.now,
        deadline_at=call.now + SOON,
        requested_by=call.person.name,
        urgency=URGENT,
        hypervisor_id=hypervisor_id,
    )
    return submitted(call, wanted)


@router.post("/hypervisors/{hypervisor_id}/check", status_code=201, response_model=Job)
def check_hypervisor(hypervisor_id: Id, call: Annotated[Call, posts(Permission.JOBS_RUN)]) -> Response:
    """Can it be reached, and which privileges are missing? The job's result says `reached` and `missing`."""
    call.row(hypervisors_table, hypervisor_id, hypervisors.SCOPES, Permission.HYPERVISORS_READ)
    wanted = Wanted(
        kind="check",
        subject=f"check:{hypervisor_id}",
        due_at=call.now,
        deadline_at=call.now + SOON,
        requested_by=call.person.name,
        urgency=URGENT,
        hypervisor_id=hypervisor_id,
        attempts_allowed=1,
    )
    return submitted(call, wanted)


def check_backup(call: Call, machine_id: str) -> tuple[Any, Any]:
    """The machine and its plan, as rows, where the caller may have it backed up. Raises NotFound, StateForbids."""
    call.row(machines_table, machine_id, machines.SCOPES, Permission.MACHINES_READ)
    machine = call.connection.execute(sa.select(machines_table).where(machines_table.c.id == machine_id)).one()
    plan = call.connection.execute(sa.select(plans_table).where(plans_table.c.id == machine.plan_id)).one_or_none()
    if machine.gone_at is not None:
        raise StateForbids(f"machine {machine.name} is not there any more")
    if not machine.protectable:
        raise StateForbids(f"machine {machine.name} cannot be protected: {machine.reason}")
    if plan is None:
        raise StateForbids(f"machine {machine.name}: expected a rule that gives it a plan, found none")
    if plan.pool_id is None:
        raise StateForbids(f"machine {machine.name}: its plan {plan.name} has no pool")
    return machine, plan


class Cleaning(Input):
    """What a person wants removed besides what goes by itself."""

    half_made: bool = Field(default=False, description="the machine itself, where a dead restore left it half-made")


@router.post("/machines/{machine_id}/clean", status_code=201, response_model=Job)
def clean_machine(machine_id: Id, body: Cleaning, call: Annotated[Call, posts(Permission.MACHINES_WRITE)]) -> Response:
    """Remove now what jobs that are over left at a machine: snapshots, layers that wait for consolidation."""
    return submitted(call, cleaning_of(call, machine_id, half_made=body.half_made))


def cleaning_of(call: Call, machine_id: str, *, half_made: bool) -> Wanted:
    """The job, where the caller may have it and there is something to clean. Raises NotFound, StateForbids."""
    call.row(machines_table, machine_id, machines.SCOPES, Permission.MACHINES_READ)
    machine = call.connection.execute(sa.select(machines_table).where(machines_table.c.id == machine_id)).one()
    if machine.gone_at is not None or not machine.leftovers:
        raise StateForbids(f"machine {machine.name}: the last discovery saw nothing that is left there")
    progress = call.services.progress
    by = leftovers.half_made_by(call.connection, progress, machine, call.now) if half_made else ""
    return leftovers.clean_of(machine, call.now, call.person.name, by)


def submitted(call: Call, wanted: Wanted) -> Response:
    """The answer with the job that was made."""
    key = submit_one(call.connection, call.services.ids, wanted, call.now)
    call.new_work = True
    call.permission = Permission.JOBS_READ
    return call.answer(read(call, key), 201, location=f"/api/v1/jobs/{key}")
