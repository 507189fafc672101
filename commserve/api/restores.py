"""Restores: disks of a recovery point as image files, or into a machine of a hypervisor."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Response
from pydantic import Field, model_validator

from commserve.access.roles import EVERYTHING, Permission, Scope
from commserve.api import hypervisors, machines
from commserve.api.asking import SOON, submitted
from commserve.api.call import Call, posts
from commserve.api.jobs import Job
from commserve.api.points import known_points
from commserve.api.shapes import Id, Input
from commserve.faults import NoAgent, NotAllowed, NotFound, RequestInvalid, StateForbids
from commserve.jobs.kinds import URGENT, Wanted
from commserve.store.tables import agents, hypervisor_agents
from commserve.store.tables import hypervisors as hypervisors_table
from commserve.store.tables import machines as machines_table

router = APIRouter(tags=["jobs"])

Name = Annotated[str, Field(max_length=400, pattern=r"^[^\x00-\x1f]*$")]
Names = Annotated[dict[Name, Name], Field(max_length=1000)]


class MachineTargetIn(Input):
    """Where the hypervisor is the vCenter of a cloud, what is left out is what that cloud lets its users use."""

    hypervisor_id: Id
    how: Literal["new", "in_place", "attach"] = "new"
    name: Name = Field(default="", max_length=80, description="of the new machine; none: as it was")
    machine_id: Id | None = Field(default=None, description="of the one in place or to attach to; none: as it was")
    datastores: Names = Field(default={}, description="by the name it had; under an empty name: all others")
    networks: Names = Field(default={})
    policies: Names = Field(default={}, description="storage policies; to an empty name: the datastore's default")
    folder: Name = Field(default="", description="path; none: as it was")
    pool: Name = Field(default="", description="name or path of a resource pool; none: as it was")
    provisioning: Literal["as_it_was", "thin", "thick"] = "as_it_was"
    keep_identity: bool = Field(default=False, description="of a new machine: uuids and MAC addresses")
    power_off: bool = Field(default=False, description="the machine in place, before")
    power_on: bool = Field(default=False, description="the machine, when it is restored")


class RestoreIn(Input):
    """Exactly one of `directory` and `machine`."""

    pool_id: Id
    point: str = Field(pattern=r"^[0-9a-f]{10}$")
    directory: str | None = Field(
        default=None,
        pattern=r"^/[^\x00]*$",
        max_length=4000,
        description="below a landing directory of the agent",
    )
    machine: MachineTargetIn | None = None
    disks: list[Annotated[int, Field(ge=0, lt=1 << 16)]] = Field(default=[], max_length=1000, description="none: all")
    agent_id: Id | None = Field(
        default=None, description="the VSA that writes; may be left out where only one can, or for a machine"
    )
    format: Literal["raw"] = "raw"
    overwrite: bool = False

    @model_validator(mode="after")
    def _one_target(self) -> RestoreIn:
        if (self.directory is None) == (self.machine is None):
            raise ValueError("expected one of directory and machine")
        return self


@router.post("/restores", status_code=201, response_model=Job)
def restore_point(body: RestoreIn, call: Annotated[Call, posts(Permission.POINTS_RESTORE)]) -> Response:
    """Disks of a recovery point, as image files or into a machine. Comes before everything else that waits.

    Image files lie on a VSA's own disk. Whoever may not restore everything names one that reaches the hypervisor of the
    point's machine, and overwrites nothing: what is there may be of others.
    """
    return submitted(call, wanted(call, body))


def wanted(call: Call, body: RestoreIn) -> Wanted:
    """The job, where the caller may have it. Raises NotFound, NotAllowed, NoAgent, RequestInvalid, StateForbids."""
    point = _point(call, body)
    if point["expired"]:
        raise StateForbids(f"point {body.point} is expired")
    arguments = body.model_dump(include={"point", "directory", "disks", "format", "overwrite", "machine"})
    if body.machine is None:
        agent_id = _landing(call, body, point["hypervisor_id"])
        subject = f"restore:{agent_id}:{(body.directory or '').rstrip('/')}"
    else:
        agent_id = _reaching(call, body.machine.hypervisor_id, body.agent_id)
        arguments["machine"]["machine_id"] = machine_id = _machine(call, body.machine, point["machine_id"])
        named = body.machine.name or point["machine_name"]  # `jobs.backlog.protected` leaves out what this names
        subject = f"restore:{body.machine.hypervisor_id}:{named if body.machine.how == 'new' else machine_id}"
    return Wanted(
        kind="restore",
        subject=subject,
        due_at=call.now,
        deadline_at=call.now + SOON,
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
        arguments=arguments,
    )


def _point(call: Call, body: RestoreIn) -> Any:
    """The point, where the caller may restore it. Who may not even read it hears that there is none."""
    columns = known_points().selected_columns
    named = columns.pool_id == body.pool_id, columns.id == body.point
    point = call.connection.execute(known_points().where(*named)).mappings().one_or_none()
    lies_in = {EVERYTHING}
    if point is not None:
        lies_in |= {Scope(kind, point[column.name]) for kind, column in machines.SCOPES.items() if point[column.name]}
    if point is None or call.person.scopes(Permission.POINTS_READ).isdisjoint(lies_in):
        raise NotFound(f"points: no {body.point!r} in pool {body.pool_id!r}")
    call.authorize(*lies_in)
    return point


def _active(call: Call) -> list[str]:
    """The VSAs that work."""
    active = sa.select(agents.c.id).where(agents.c.role == "vsa", agents.c.state == "active")
    return [str(key) for key in call.connection.execute(active.order_by(agents.c.seen_at.desc())).scalars()]


def _bound(call: Call, hypervisor_id: str | None) -> set[str]:
    """The agents that a hypervisor names."""
    bound = sa.select(hypervisor_agents.c.agent_id).where(hypervisor_agents.c.hypervisor_id == hypervisor_id)
    return set(call.connection.execute(bound).scalars())


def _landing(call: Call, body: RestoreIn, hypervisor_id: str | None) -> str:
    """The VSA on whose disk files land. Raises NotAllowed, RequestInvalid, NoAgent."""
    there = _active(call)
    if EVERYTHING not in call.person.scopes(Permission.POINTS_RESTORE):
        if body.overwrite:
            raise NotAllowed("overwrite: what is there may be of others: needs a binding on everything")
        bound = _bound(call, hypervisor_id)
        there = [key for key in there if not bound or key in bound]  # a hypervisor that names none has all
    if body.agent_id is not None:
        return _named(there, body.agent_id)
    if len(there) != 1:
        raise NoAgent(f"agent_id: expected one active VSA to choose by itself, found {len(there)}")
    return there[0]


def _reaching(call: Call, hypervisor_id: str, asked: str | None) -> str:
    """A VSA that reaches the hypervisor; of several the one that was heard last."""
    call.row(hypervisors_table, hypervisor_id, hypervisors.SCOPES, Permission.HYPERVISORS_READ)
    bound = _bound(call, hypervisor_id)
    there = [key for key in _active(call) if key in bound]
    if not there:
        raise NoAgent(f"hypervisor_id: expected an active VSA that reaches {hypervisor_id!r}, found none")
    return there[0] if asked is None else _named(there, asked)


def _named(there: list[str], asked: str) -> str:
    if asked not in there:
        raise RequestInvalid(f"agent_id: {asked!r} is no active VSA that may do this")
    return asked


def _machine(call: Call, target: MachineTargetIn, own: str) -> str | None:
    """The id of the machine that is there. Raises RequestInvalid, NotFound."""
    if target.how == "new":
        return None
    if target.machine_id is None and target.how == "attach":
        raise RequestInvalid("machine.machine_id: expected the machine that the disks are attached to")
    key = target.machine_id or own
    row = call.row(machines_table, key, machines.SCOPES, Permission.MACHINES_READ)
    if row["hypervisor_id"] != target.hypervisor_id:
        raise RequestInvalid(f"machine.machine_id: {row['name']} is not a machine of {target.hypervisor_id!r}")
    return key
