"""A leased job as the assignment that its agent gets, with the ticket that MediaAgents ask for."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from commserve.jobs.kinds import SETTLE
from commserve.jobs.lifecycle import Policy, is_settling
from commserve.plans.promise import Hold
from commserve.store.tables import agents, hypervisors, machines, pool_agents, pools
from commserve.trust.secrets import sealed_for
from proto import agents_pb2
from proto.channels import Caller
from proto.tickets import Ticket, sign

TICKET_LIFE = timedelta(days=1)  # who lost the lease gets no other, and may show the last one for so long at most


class Assignments:
    """Makes them. `sign_key` signs tickets."""

    def __init__(self, sign_key: Any, policy: Policy, site: str) -> None:
        """`site` is the UUID by which what this CommServe's agents leave behind is known."""
        self._sign_key = sign_key
        self._policy = policy
        self._site = site

    def of(self, connection: sa.Connection, job: Any, agent: Any, rate: int, now: datetime) -> agents_pb2.Assignment:
        """For a job (a row) that this agent (a row) just leased."""
        operation = SETTLE if is_settling(job) else job.kind
        pool = _pool(connection, job.pool_id)
        assignment = agents_pb2.Assignment(
            id=job.assignment_id,
            job=job.id,
            attempt=job.attempts,
            fence=job.fence,
            lease_seconds=int(self._policy.lease.total_seconds()),
            trace=job.trace,
            ticket=self._ticket(job, agent, operation, pool.id, now),
        )
        _FILL[operation](assignment, connection, job, agent, pool, rate)
        if operation == "discover":
            assignment.discover.site = self._site
        if operation == "clean":
            assignment.clean.site = self._site
        if operation == "backup":
            assignment.backup.hold.CopyFrom(_hold(job.arguments.get("hold", {}), self._site))
        return assignment

    def ticket_again(self, connection: sa.Connection, job: Any, agent: Any, age_seconds: int, now: datetime) -> str:
        """For a job (a row) that this agent holds, when half the life of its last ticket is over; else empty."""
        if timedelta(seconds=age_seconds) * 2 < TICKET_LIFE:
            return ""
        operation = SETTLE if is_settling(job) else job.kind
        return self._ticket(job, agent, operation, _pool(connection, job.pool_id).id, now)

    def _ticket(self, job: Any, agent: Any, operation: str, pool_id: str, now: datetime) -> str:
        asked = job.arguments.get("points") or [point for point in (job.arguments.get("point"),) if point]
        ticket = Ticket(
            agent=Caller(agent.role, agent.id).uri,
            job=job.id,
            fence=job.fence,
            machine=job.machine_id or "",
            pool=pool_id,
            operations=(operation,),
            points=tuple(asked),
            expires_at=int((now + TICKET_LIFE).timestamp()),
            trace=job.trace,
        )
        return sign(ticket, self._sign_key)


def _pool(connection: sa.Connection, pool_id: str | None) -> agents_pb2.Pool:
    row = connection.execute(sa.select(pools).where(pools.c.id == pool_id)).one_or_none()
    return agents_pb2.Pool() if row is None else agents_pb2.Pool(id=row.repository_id or "", name=row.name)


def _media_agents(connection: sa.Connection, pool_id: str | None) -> list[agents_pb2.MediaAgent]:
    serving = (
        sa.select(agents)
        .join(pool_agents, pool_agents.c.agent_id == agents.c.id)
        .where(pool_agents.c.pool_id == pool_id, agents.c.state.in_(["active", "draining"]))
        .order_by(agents.c.state, agents.c.seen_at.desc())  # the active first, the one heard last before others
    )
    return [agents_pb2.MediaAgent(id=row.id, addresses=row.addresses) for row in connection.execute(serving)]


def _hypervisor(connection: sa.Connection, key: str | None, agent: Any) -> agents_pb2.Hypervisor:
    row = connection.execute(sa.select(hypervisors).where(hypervisors.c.id == key)).one_or_none()
    if row is None:
        return agents_pb2.Hypervisor()
    sealed = sealed_for(connection, f"hypervisor:{row.id}", agent.id)
    settings = json.dumps(row.settings, sort_keys=True)
    return agents_pb2.Hypervisor(id=row.id, name=row.name, kind=row.kind, settings=settings, sealed_secret=sealed)


def machine_of(row: Any) -> agents_pb2.Machine:
    """A machine's row as it crosses the wire."""
    return agents_pb2.Machine(
        id=row.id,
        name=row.name,
        folder=row.folder,
        tags=row.tags,
        power_state=row.power_state,
        attributes=row.attributes,
        disks=[agents_pb2.DiskSeen(**disk) for disk in row.disks],
        protectable=row.protectable,
        reason=row.reason,
        source=row.source,
        resource_pool=row.resource_pool,
        host=row.host,
        datastores=row.datastores,
    )


def _discover(to: agents_pb2.Assignment, connection: sa.Connection, job: Any, agent: Any, *_: Any) -> None:
    to.discover.hypervisor.CopyFrom(_hypervisor(connection, job.hypervisor_id, agent))


def _watch(to: agents_pb2.Assignment, connection: sa.Connection, job: Any, agent: Any, *_: Any) -> None:
    hypervisor = _hypervisor(connection, job.hypervisor_id, agent)
    to.watch.CopyFrom(agents_pb2.Watch(hypervisor=hypervisor, seconds=job.arguments["seconds"]))


def _check(to: agents_pb2.Assignment, connection: sa.Connection, job: Any, agent: Any, *_: Any) -> None:
    to.check.hypervisor.CopyFrom(_hypervisor(connection, job.hypervisor_id, agent))


def _clean(to: agents_pb2.Assignment, connection: sa.Connection, job: Any, agent: Any, *_: Any) -> None:
    to.clean.CopyFrom(
        agents_pb2.Clean(
            hypervisor=_hypervisor(connection, job.hypervisor_id, agent),
            machine=agents_pb2.Machine(id=job.machine_id, name=job.machine_name),
            half_made_by=job.arguments.get("half_made_by", ""),
        )
    )


def _backup(
    to: agents_pb2.Assignment, connection: sa.Connection, job: Any, agent: Any, pool: agents_pb2.Pool, rate: int
) -> None:
    row = connection.execute(sa.select(machines).where(machines.c.id == job.machine_id)).one_or_none()
    machine = agents_pb2.Machine(id=job.machine_id, name=job.machine_name) if row is None else machine_of(row)
    asked = job.arguments
    to.backup.CopyFrom(
        agents_pb2.Backup(
            hypervisor=_hypervisor(connection, job.hypervisor_id, agent),
            machine=machine,
            pool=pool,
            media_agents=_media_agents(connection, job.pool_id),
            parent=asked.get("parent", "auto"),
            level=asked.get("level", 1),
            streams=asked.get("streams", 0),
            bytes_per_second=rate,
        )
    )


def _hold(asked: dict[str, Any], site: str) -> agents_pb2.Hold:
    """What the plan said; jobs of the release before say nothing."""
    hold = Hold.model_validate(asked)
    return agents_pb2.Hold(
        site=site,
        quiesce=agents_pb2.Hold.Quiesce.Value(hold.quiesce.upper()),
        fails_unquiesced=not hold.fall_back,
        excluded=hold.exclude_disks,
        snapshot_minutes=hold.snapshot_minutes,
        proof_days=hold.proof_days,
    )


def _restore(
    to: agents_pb2.Assignment, connection: sa.Connection, job: Any, agent: Any, pool: agents_pb2.Pool, rate: int
) -> None:
    asked = job.arguments
    restore = agents_pb2.Restore(
        pool=pool,
        media_agents=_media_agents(connection, job.pool_id),
        point=asked["point"],
        disks=asked["disks"],
        format=asked["format"],
        overwrite=asked["overwrite"],
        bytes_per_second=rate,
    )
    machine = asked.get("machine")
    if machine is None:
        restore.directory = asked["directory"]
    else:
        restore.machine.CopyFrom(_machine_target(connection, machine, agent))
    to.restore.CopyFrom(restore)


def _machine_target(connection: sa.Connection, asked: dict[str, Any], agent: Any) -> agents_pb2.MachineTarget:
    target = agents_pb2.MachineTarget
    return target(
        hypervisor=_hypervisor(connection, asked["hypervisor_id"], agent),
        how=target.How.Value(asked["how"].upper()),
        name=asked["name"],
        machine=asked["machine_id"] or "",
        datastores=asked["datastores"],
        networks=asked["networks"],
        policies=asked.get("policies", {}),  # jobs that were asked for before have none
        folder=asked["folder"],
        pool=asked["pool"],
        provisioning=target.Provisioning.Value(asked["provisioning"].upper()),
        keep_identity=asked["keep_identity"],
        power_off=asked["power_off"],
        power_on=asked["power_on"],
    )


def _create_pool(to: agents_pb2.Assignment, connection: sa.Connection, job: Any, agent: Any, *_: Any) -> None:
    asked = job.arguments
    to.create_pool.CopyFrom(
        agents_pb2.CreatePool(
            name=asked["name"],
            url=asked["url"],
            average_chunk_bytes=asked["average_chunk_bytes"],
            encrypted=asked["encrypted"],
            sealed_secret=sealed_for(connection, f"pool:{job.pool_id}", agent.id),
            pool=job.pool_id,
        )
    )


def _keep_secret(to: agents_pb2.Assignment, connection: sa.Connection, job: Any, agent: Any, *_: Any) -> None:
    sealed = sealed_for(connection, f"pool:{job.pool_id}", agent.id)
    to.keep_secret.CopyFrom(agents_pb2.KeepSecret(pool=job.pool_id, url=job.arguments["url"], sealed_secret=sealed))


def _read_points(to: agents_pb2.Assignment, _c: sa.Connection, _j: Any, _a: Any, pool: Any, *_: Any) -> None:
    to.read_points.pool.CopyFrom(pool)


def _expire(to: agents_pb2.Assignment, _c: sa.Connection, job: Any, _a: Any, pool: Any, *_: Any) -> None:
    to.expire.CopyFrom(agents_pb2.Expire(pool=pool, points=job.arguments["points"], who=job.arguments["who"]))


def _verify(to: agents_pb2.Assignment, _c: sa.Connection, job: Any, _a: Any, pool: Any, *_: Any) -> None:
    to.verify.CopyFrom(agents_pb2.Verify(pool=pool, points=job.arguments["points"]))


def _rebuild(to: agents_pb2.Assignment, _c: sa.Connection, _j: Any, _a: Any, pool: Any, *_: Any) -> None:
    to.rebuild.pool.CopyFrom(pool)


def _read_register(to: agents_pb2.Assignment, _c: sa.Connection, job: Any, _a: Any, pool: Any, *_: Any) -> None:
    to.read_register.CopyFrom(agents_pb2.ReadRegister(pool=pool, sid=job.sid))


_FILL: dict[str, Callable[..., None]] = {
    "discover": _discover,
    "watch": _watch,
    "check": _check,
    "clean": _clean,
    "backup": _backup,
    "restore": _restore,
    "create_pool": _create_pool,
    "keep_secret": _keep_secret,
    "read_points": _read_points,
    "expire": _expire,
    "verify": _verify,
    "rebuild": _rebuild,
    SETTLE: _read_register,
}
