"""/jobs/{id}/retry: the same again. Whoever asks is asked all that he was asked, or another was, the first time."""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Response

from commserve.access.roles import Permission
from commserve.api import asking, hypervisors, points, restores
from commserve.api.call import Call, posts
from commserve.api.jobs import Job, read
from commserve.api.shapes import Id
from commserve.faults import StateForbids
from commserve.jobs.kinds import ROLE, URGENT, Wanted
from commserve.jobs.states import State
from commserve.store.tables import hypervisors as hypervisors_table
from commserve.store.tables import jobs, pools

router = APIRouter(tags=["jobs"])
_NOT_AGAIN = ("run_id", "not_before_at")


@router.post("/jobs/{job_id}/retry", status_code=201, response_model=Job)
def retry_job(job_id: Id, call: Annotated[Call, posts(Permission.JOBS_RUN)]) -> Response:
    """The same again as a new job, when it did not end well. Needs what asking for the first one needs, as of now."""
    found = read(call, job_id)
    if found.state not in (State.FAILED, State.CANCELLED):
        raise StateForbids(f"job {job_id} is {found.state}")
    row = call.connection.execute(sa.select(jobs).where(jobs.c.id == job_id)).one()._asdict()
    return asking.submitted(call, _wanted(call, row))


def _wanted(call: Call, row: dict[str, Any]) -> Wanted:
    kind = row["kind"]
    if kind == "restore":
        call.permission = Permission.POINTS_RESTORE
        return restores.wanted(call, _restore_of(row))
    if kind == "clean":
        call.permission = Permission.MACHINES_WRITE
        return asking.cleaning_of(call, row["machine_id"], half_made=bool(row["arguments"].get("half_made_by")))
    if kind == "expire":
        call.permission = Permission.POINTS_EXPIRE
        asked = row["arguments"]["points"]
        points.check_expiry(call, row["pool_id"] or "", asked)
    elif ROLE[kind] == "mediaagent":
        call.permission = Permission.POOLS_WRITE
        call.row(pools, row["pool_id"] or "", {}, Permission.POOLS_READ)
    elif kind == "backup":
        asking.check_backup(call, row["machine_id"])
    else:
        call.row(hypervisors_table, row["hypervisor_id"] or "", hypervisors.SCOPES, Permission.HYPERVISORS_READ)
    kept = {name: row[name] for name in Wanted.__dataclass_fields__ if name in row and name not in _NOT_AGAIN}
    return Wanted(due_at=call.now, **{**kept, "requested_by": call.person.name, "urgency": URGENT})


def _restore_of(row: dict[str, Any]) -> restores.RestoreIn:
    """What was asked for. Into a hypervisor, any VSA that reaches it by now will do."""
    if row["pool_id"] is None:
        raise StateForbids(f"job {row['id']}: its pool was forgotten")
    asked = {**row["arguments"], "pool_id": row["pool_id"]}
    if asked.get("machine") is None:
        asked["agent_id"] = row["wanted_agent_id"]
    return restores.RestoreIn.model_validate(asked)
