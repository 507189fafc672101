"""The agents' service: gRPC over mutual TLS. Who calls is what the certificate says, and nothing else.

Each handler: who is it, one transaction, the answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import grpc
import sqlalchemy as sa
from pydantic_core import from_json

from commserve.agents import skew
from commserve.agents.assignments import Assignments
from commserve.agents.presence import PoolSeen, Registration, register, seen
from commserve.catalog import points
from commserve.faults import RequestInvalid
from commserve.inventory import leftovers, machines
from commserve.jobs.lifecycle import Failure, Report
from commserve.jobs.pacing import rates
from commserve.jobs.progress import Answer
from commserve.moments import present
from commserve.services import Services
from commserve.store.tables import jobs
from commserve.trust import joining
from proto import agents_pb2
from proto.agents_pb2_grpc import AgentsServicer
from proto.channels import caller_of
from runtime.faults import Retry
from runtime.logs import log
from runtime.version import VERSION

HEARTBEAT_SECONDS = 10
_LONGEST_WAIT_SECONDS = 30
_LOOK_SECONDS = 1.0
_MOST_MACHINES = 200_000
_MOST_POINTS = 5_000_000
_MOST_RESULT_CHARS = 1 << 20
_ANSWERS = {
    Answer.GO_ON: agents_pb2.ReportReply.GO_ON,
    Answer.CANCEL: agents_pb2.ReportReply.CANCEL,
    Answer.STALE: agents_pb2.ReportReply.STALE,
}


class AgentsService(AgentsServicer):
    """One of a process."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._store = services.store
        self._progress = services.progress
        self._assignments = Assignments(
            services.authority.ticket_key, services.progress.policy, services.authority.site
        )

    def Register(self, request: agents_pb2.RegisterRequest, context: grpc.ServicerContext) -> agents_pb2.RegisterReply:
        skew.check(request.version, VERSION)
        now = self._now()
        with self._store.writing() as connection:
            agent = joining.agent_of(connection, caller_of(context))
            lost = self._progress.restarted(connection, agent.id, request.boot_id, now)
            register(connection, self._services.ids, agent, _registration(request), now)
            version, denied = joining.deny_list(connection, now)
        self._services.bell.ring()
        log().info("agent registered", agent=agent.name, role=agent.role, version=request.version, jobs_lost=lost)
        return agents_pb2.RegisterReply(
            version=VERSION,
            heartbeat_seconds=HEARTBEAT_SECONDS,
            ticket_key=self._services.authority.ticket_public_key,
            deny_list=agents_pb2.DenyList(version=version, agents=denied),
        )

    def Heartbeat(
        self, request: agents_pb2.HeartbeatRequest, context: grpc.ServicerContext
    ) -> agents_pb2.HeartbeatReply:
        now = self._now()
        held = [(each.assignment, each.fence) for each in request.held]
        with self._store.writing() as connection:
            agent = joining.agent_of(connection, caller_of(context))
            seen(connection, agent, request.time, request.troubles, now)
            stale = self._progress.renew(connection, agent.id, held, now)
            version, denied = joining.deny_list(connection, now)
            shares = rates(connection, now) if held else {}
            ids = sa.select(jobs.c.assignment_id, jobs.c.id).where(jobs.c.assignment_id.in_([key for key, _ in held]))
            paced = [
                agents_pb2.Rate(assignment=row.assignment_id, bytes_per_second=shares[row.id])
                for row in connection.execute(ids)
                if row.id in shares and row.assignment_id not in stale
            ]
        reply = agents_pb2.HeartbeatReply(stop=stale, rates=paced, drain=agent.state == "draining")
        if version != request.deny_list_version:
            reply.deny_list.CopyFrom(agents_pb2.DenyList(version=version, agents=denied))
        return reply

    def Lease(self, request: agents_pb2.LeaseRequest, context: grpc.ServicerContext) -> agents_pb2.LeaseReply:
        """Waits by looking again when the bell rings, and every second; holds no connection meanwhile.

        Nothing is given to an agent that went away while it waited: it would be lost until its lease was over.
        """
        bell, clock = self._services.bell, self._services.clock
        until = clock.monotonic_seconds() + min(request.wait_seconds, _LONGEST_WAIT_SECONDS)
        caller = caller_of(context)
        while context.is_active():
            rings = bell.rings
            with self._store.reading() as connection:
                agent = joining.agent_of(connection, caller)
            leased = self._services.dispatch.lease(agent, request.boot_id, request.free_slots)
            left = until - clock.monotonic_seconds()
            if leased or left <= 0 or self._services.draining():
                return agents_pb2.LeaseReply(assignments=self._assigned(leased, agent))
            bell.wait(rings, min(left, _LOOK_SECONDS))
        return agents_pb2.LeaseReply()

    def _assigned(self, leased: list[Any], agent: Any) -> list[agents_pb2.Assignment]:
        if not leased:
            return []
        now = self._now()
        with self._store.reading() as connection:
            shares = rates(connection, now)
            for job in leased:
                about_it = {"job": job.id, "kind": job.kind, "trace": job.trace}
                log().info("leased", agent=agent.name, attempt=job.attempts, **about_it)
            return [self._assignments.of(connection, job, agent, shares.get(job.id, 0), now) for job in leased]

    def Report(self, request: agents_pb2.ReportRequest, context: grpc.ServicerContext) -> agents_pb2.ReportReply:
        now = self._now()
        with self._store.writing() as connection:
            agent = joining.agent_of(connection, caller_of(context))
            answer, job = self._progress.report(
                connection, agent.id, request.assignment, request.fence, _report(request), now
            )
            share = rates(connection, now).get(job.id, 0) if job is not None else 0
            ticket = ""
            if answer is Answer.GO_ON and job is not None and job.assignment_id is not None:
                ticket = self._assignments.ticket_again(connection, job, agent, request.ticket_seconds, now)
        if job is not None and job.assignment_id is None:
            if job.ended_at is None:
                self._services.bell.ring()  # somebody else may have it now
            about_it = {"job": job.id, "kind": job.kind, "trace": job.trace}
            log().info("reported", state=job.state, fault=job.fault_code, **about_it)
        return agents_pb2.ReportReply(answer=_ANSWERS[answer], bytes_per_second=share, ticket=ticket)

    def Renew(self, request: agents_pb2.RenewRequest, context: grpc.ServicerContext) -> agents_pb2.RenewReply:
        caller = caller_of(context)
        with self._store.writing() as connection:
            joining.agent_of(connection, caller)
            chain = joining.renew(connection, self._services.authority, caller, request.csr, self._now())
        return agents_pb2.RenewReply(certificate=chain, authority=self._services.authority.pem)

    def Ended(self, request: agents_pb2.EndedRequest, context: grpc.ServicerContext) -> agents_pb2.EndedReply:
        with self._store.reading() as connection:
            joining.agent_of(connection, caller_of(context))
            ended = self._progress.surely_ended(connection, request.job, request.fence, self._now())
        return agents_pb2.EndedReply(ended=ended)

    def Discovered(
        self, request_iterator: Iterator[agents_pb2.MachinesPage], context: grpc.ServicerContext
    ) -> agents_pb2.DiscoveredReply:
        """Nothing is taken before the last page came: half a list would say that the rest is gone."""
        caller = caller_of(context)
        found: list[dict[str, Any]] = []
        last = None
        for page in request_iterator:
            found += [_machine(each) for each in page.machines]
            if len(found) > _MOST_MACHINES:
                raise RequestInvalid(f"machines: more than {_MOST_MACHINES}")
            last = page
        if last is None or not last.last:
            raise RequestInvalid("machines: the last page did not come")
        now = self._now()
        with self._store.writing() as connection:
            agent = joining.agent_of(connection, caller)
            job = self._held(connection, agent, last.assignment, last.fence, "discover")
            complaints = machines.record(connection, job.hypervisor_id, found, now)
            taken = len(found) - len(complaints)
            complaints += leftovers.told(connection, self._progress, job.hypervisor_id, now)
            if complaints:
                warned = sa.update(jobs).where(jobs.c.id == job.id)
                connection.execute(warned.values(warnings=[*job.warnings, *complaints[:100]]))
        return agents_pb2.DiscoveredReply(machines=taken)

    def Changed(self, request: agents_pb2.MachinesChanged, context: grpc.ServicerContext) -> agents_pb2.ChangedReply:
        with self._store.writing() as connection:
            agent = joining.agent_of(connection, caller_of(context))
            job = self._held(connection, agent, request.assignment, request.fence, "watch")
            found = [_machine(each) for each in request.machines]
            for complaint in machines.change(connection, job.hypervisor_id, found, set(request.gone), self._now()):
                log().warning("left out of the inventory", job=job.id, message=complaint)
        return agents_pb2.ChangedReply()

    def PointsRead(
        self, request_iterator: Iterator[agents_pb2.PointsPage], context: grpc.ServicerContext
    ) -> agents_pb2.PointsReadReply:
        """Nothing is taken before the last page came."""
        caller = caller_of(context)
        found: list[dict[str, Any]] = []
        last = None
        for page in request_iterator:
            found += [_point(each) for each in page.points]
            if len(found) > _MOST_POINTS:
                raise RequestInvalid(f"points: more than {_MOST_POINTS}")
            last = page
        if last is None or not last.last:
            raise RequestInvalid("points: the last page did not come")
        with self._store.writing() as connection:
            agent = joining.agent_of(connection, caller)
            job = self._held(connection, agent, last.assignment, last.fence, "read_points")
            live = points.take_over(connection, job.pool_id, found, self._now())
        return agents_pb2.PointsReadReply(points=live)

    def _held(self, connection: sa.Connection, agent: Any, assignment: str, fence: int, kind: str) -> Any:
        job = self._progress.holds(connection, agent.id, assignment, fence)
        if job is None or job.kind != kind:
            raise RequestInvalid(f"assignment {assignment!r}: not one of this agent that is a {kind}")
        return job

    def _now(self) -> datetime:
        return present(self._services.clock)


def _registration(request: agents_pb2.RegisterRequest) -> Registration:
    return Registration(
        request.version,
        request.boot_id,
        request.host,
        list(request.capabilities),
        list(request.addresses),
        request.sealing_key,
        [PoolSeen(pool.id, pool.name, pool.url) for pool in request.pools],
    )


def _report(request: agents_pb2.ReportRequest) -> Report:
    """What an agent says, in our words. Raises RequestInvalid."""
    state = agents_pb2.ReportRequest.State.Name(request.state)
    if state == "STATE_UNSPECIFIED":
        raise RequestInvalid("state: expected one, found none")
    if state == "COMMITTING" and not 0 < request.sid < 1 << 40:
        raise RequestInvalid(f"sid: expected the session that commits, found {request.sid}")
    result = _result(request.result)
    said = request.progress
    progress = {
        "phase": said.phase,
        "done_bytes": said.done_bytes,
        "total_bytes": said.total_bytes,
        "read_bytes": said.read_bytes,
        "new_bytes": said.new_bytes,
        "stored_bytes": said.stored_bytes,
    }
    failure = None
    if request.HasField("fault"):
        retry = request.fault.retry
        known = retry in {each.value for each in Retry}
        failure = Failure(request.fault.code, request.fault.message, Retry(retry) if known else Retry.NEVER)
    has_progress = request.HasField("progress")
    return Report(state, progress if has_progress else {}, request.sid, result, list(request.warnings), failure)


def _result(text: str) -> dict[str, Any]:
    """Shown in every list with the job, so nothing that cannot be: halves of characters, numbers that are none."""
    if len(text) > _MOST_RESULT_CHARS:
        raise RequestInvalid(f"result: {len(text)} characters, {_MOST_RESULT_CHARS} are the most")
    try:
        result = from_json(text, allow_inf_nan=False) if text else {}
    except ValueError as error:
        raise RequestInvalid(f"result: expected JSON: {error}") from error
    if not isinstance(result, dict):
        raise RequestInvalid(f"result: expected a JSON object, found {type(result).__name__}")
    return result


def _machine(each: agents_pb2.Machine) -> dict[str, Any]:
    disks = [{"key": disk.key, "name": disk.name, "size": disk.size, "reason": disk.reason} for disk in each.disks]
    return {
        "id": each.id,
        "name": each.name,
        "folder": each.folder,
        "tags": list(each.tags),
        "power_state": each.power_state or "unknown",
        "attributes": dict(each.attributes),
        "disks": disks,
        "size_bytes": sum(disk.size for disk in each.disks),
        "protectable": each.protectable,
        "reason": each.reason,
        "source": each.source,
        "resource_pool": each.resource_pool,
        "host": each.host,
        "datastores": list(each.datastores),
        **_leftovers(each),
    }


def _leftovers(each: agents_pb2.Machine) -> dict[str, Any]:
    """Nothing where the agent did not look; what is left, only where something is."""
    if not each.HasField("leftovers"):
        return {}
    said = each.leftovers
    snapshots = [{"job": one.job, "fence": one.fence, "taken_at": one.taken_at} for one in said.snapshots]
    some = snapshots or said.consolidation_needed or said.restoring
    found = {
        "snapshots": snapshots,
        "consolidation_needed": said.consolidation_needed,
        "restoring": said.restoring,
    }
    return {"leftovers": found if some else {}}


def _point(each: agents_pb2.PointSeen) -> dict[str, Any]:
    try:
        time = datetime.fromisoformat(each.time).astimezone(UTC)
    except ValueError as error:
        raise RequestInvalid(f"point {each.id}: time: {error}") from error
    return {
        "id": each.id,
        "machine_id": each.machine_id,
        "machine_name": each.machine_name,
        "time": time,
        "parent": each.parent,
        "disk_bytes": each.disk_bytes,
        "data_bytes": each.data_bytes,
        "stored_bytes": each.stored_bytes,
        "expired": each.expired,
        "marks": list(each.marks),
    }
