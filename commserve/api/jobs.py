"""/jobs and /runs: what somebody wants done, how far it is, how it ended."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

import anyio
import sqlalchemy as sa
from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from commserve.access.people import person_of
from commserve.access.roles import Permission, visible
from commserve.api.call import Call, posts, reads
from commserve.api.paging import Cursor, Limit, Page, page
from commserve.api.shapes import Id, Moment
from commserve.faults import NotAuthenticated, RequestInvalid, StateForbids
from commserve.jobs.kinds import Kind
from commserve.jobs.states import ACTIVE, ENDED, State
from commserve.moments import present
from commserve.services import Services
from commserve.store.tables import jobs, leases, runs

router = APIRouter(tags=["jobs"])
SCOPES = {"hypervisor": jobs.c.hypervisor_id, "plan": jobs.c.plan_id, "group": jobs.c.rule_id}
RUN_SCOPES = {"plan": runs.c.plan_id}
_PROGRESS = ("phase", "done_bytes", "total_bytes", "read_bytes", "new_bytes", "stored_bytes")
_EVENT_SECONDS = 0.5
_MOST_EVENTS = 7200  # an hour; whoever wants more asks again


class Progress(BaseModel):
    phase: str
    done_bytes: int
    total_bytes: int
    read_bytes: int
    new_bytes: int
    stored_bytes: int


class JobFault(BaseModel):
    code: str
    message: str
    retry: str


class Job(BaseModel):
    id: str
    kind: str
    state: State
    machine_id: str | None
    machine_name: str
    run_id: str | None
    plan_id: str | None
    hypervisor_id: str | None
    pool_id: str | None
    agent_id: str | None
    requested_by: str
    trace: str = Field(description="in the logs of every service that had a part in it")
    attempts: int
    attempts_allowed: int
    arguments: dict[str, Any]
    progress: Progress
    result: dict[str, Any]
    warnings: list[str]
    fault: JobFault | None = Field(description="of the last attempt that failed; none where it ended well")
    cancelled_by: str
    created_at: Moment
    not_before_at: Moment
    deadline_at: Moment
    started_at: Moment | None
    ended_at: Moment | None


class Lease(BaseModel):
    fence: int
    agent_id: str
    agent_name: str
    leased_at: Moment
    ended_at: Moment | None
    outcome: str = Field(description="the job's state after it; empty while it runs")
    fault_code: str
    fault_message: str


class Leases(BaseModel):
    items: list[Lease]


class Run(BaseModel):
    id: str
    plan_id: str
    due_at: Moment
    state: str = Field(description="RUNNING | DONE | PARTIAL | FAILED | EMPTY")
    coalesced: int = Field(description="machines that had an active job already")
    created_at: Moment
    ended_at: Moment | None


@router.get("/jobs", response_model=Page[Job])
def list_jobs(
    call: Annotated[Call, reads(Permission.JOBS_READ)],
    limit: Limit = 100,
    cursor: Cursor = None,
    kind: Annotated[Kind | None, Query()] = None,
    state: Annotated[str | None, Query(max_length=50, description="one state, `active` or `ended`")] = None,
    machine_id: Annotated[str | None, Query(max_length=200)] = None,
    plan_id: Annotated[str | None, Query(max_length=200)] = None,
    pool_id: Annotated[str | None, Query(max_length=200)] = None,
    hypervisor_id: Annotated[str | None, Query(max_length=200)] = None,
    run_id: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """Newest first."""
    wanted = sa.select(jobs).where(call.visible(SCOPES))
    equal = {"kind": kind, "machine_id": machine_id, "plan_id": plan_id, "pool_id": pool_id}
    equal |= {"hypervisor_id": hypervisor_id, "run_id": run_id}
    for name, value in equal.items():
        if value is not None:
            wanted = wanted.where(jobs.c[name] == value)
    if state is not None:
        states = {"active": ACTIVE, "ended": ENDED, **{each.value: frozenset({each}) for each in State}}.get(state)
        if states is None:
            raise RequestInvalid(f"state: expected active, ended or one of {', '.join(State)}; found {state!r}")
        wanted = wanted.where(jobs.c.state.in_(sorted(states)))
    return call.answer(page(call.connection, wanted, jobs.c.id, limit, cursor, show_row, newest_first=True))


@router.get("/jobs/{job_id}", response_model=Job)
def show_job(job_id: Id, call: Annotated[Call, reads(Permission.JOBS_READ)]) -> Response:
    return call.answer(read(call, job_id))


@router.get("/jobs/{job_id}/leases", response_model=Leases)
def list_leases(job_id: Id, call: Annotated[Call, reads(Permission.JOBS_READ)]) -> Response:
    """Who worked on it, in order, and how each attempt ended."""
    read(call, job_id)
    found = sa.select(leases).where(leases.c.job_id == job_id).order_by(leases.c.fence)
    rows = call.connection.execute(found)
    return call.answer(Leases(items=[Lease.model_validate(row._asdict()) for row in rows]))


@router.get("/jobs/{job_id}/events", response_class=StreamingResponse)
def follow_job(job_id: Id, call: Annotated[Call, reads(Permission.JOBS_READ)]) -> StreamingResponse:
    """Server-sent events: the job, whenever it changed, until it ended or the caller may not see it any more."""
    read(call, job_id)
    return StreamingResponse(
        _events(call.request, call.services, call.token, job_id),
        headers={"Cache-Control": "no-store"},
        media_type="text/event-stream",
    )


@router.post("/jobs/{job_id}/cancel", response_model=Job)
def cancel_job(job_id: Id, call: Annotated[Call, posts(Permission.JOBS_RUN)]) -> Response:
    """Ends it, or asks its agent to. Twice is once."""
    found = read(call, job_id)
    if found.state in (State.COMMITTING, *ENDED) and found.state != State.CANCELLED:
        raise StateForbids(f"job {job_id} is {found.state}")
    if found.state not in (State.CANCELLING, State.CANCELLED):
        row = call.connection.execute(sa.select(jobs).where(jobs.c.id == job_id)).one()
        call.services.progress.cancel(call.connection, row, call.person.name, call.now)
    return call.answer(read(call, job_id))


@router.get("/runs", response_model=Page[Run])
def list_runs(
    call: Annotated[Call, reads(Permission.JOBS_READ)],
    limit: Limit = 100,
    cursor: Cursor = None,
    plan_id: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """Newest first."""
    wanted = sa.select(runs).where(call.visible(RUN_SCOPES))
    if plan_id is not None:
        wanted = wanted.where(runs.c.plan_id == plan_id)
    return call.answer(page(call.connection, wanted, runs.c.id, limit, cursor, Run.model_validate, newest_first=True))


@router.get("/runs/{run_id}", response_model=Run)
def show_run(run_id: Id, call: Annotated[Call, reads(Permission.JOBS_READ)]) -> Response:
    return call.answer(Run.model_validate(call.row(runs, run_id, RUN_SCOPES, Permission.JOBS_READ)))


def read(call: Call, key: str) -> Job:
    """A job that the caller may do this to."""
    return show_row(call.row(jobs, key, SCOPES, Permission.JOBS_READ))


def show_row(row: dict[str, Any]) -> Job:
    """As everybody sees it."""
    fault = None
    if row["fault_code"]:
        fault = {"code": row["fault_code"], "message": row["fault_message"], "retry": row["fault_retry"]}
    progress = {name: row[name] for name in _PROGRESS}
    return Job.model_validate({**row, "progress": progress, "fault": fault})


async def _events(request: Request, services: Services, token: str, job_id: str) -> AsyncIterator[str]:
    """Holds no connection between looks."""
    told = ""
    for _ in range(_MOST_EVENTS):
        job = await run_sync(_look, services, token, job_id)
        text = "" if job is None else job.model_dump_json()
        if text != told:
            told = text
            yield f"event: job\ndata: {text or json.dumps(None)}\n\n"
        if job is None or job.state in ENDED or services.draining() or await request.is_disconnected():
            return
        await anyio.sleep(_EVENT_SECONDS)


def _look(services: Services, token: str, job_id: str) -> Job | None:
    """None where it is gone, or for this token: an hour is long, and a token may be revoked meanwhile."""
    with services.store.reading() as connection:
        try:
            person = person_of(connection, token, present(services.clock))
        except NotAuthenticated:
            return None
        mine = visible(person, Permission.JOBS_READ, SCOPES)
        row = connection.execute(sa.select(jobs).where(jobs.c.id == job_id, mine)).one_or_none()
    return None if row is None else show_row(row._asdict())
