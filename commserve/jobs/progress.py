"""What agents say of the jobs they hold, and what time says of those that they hold too long.

An agent holds a job while assignment, fence and agent are those of the row. Whoever is not the holder hears STALE and
changes nothing, whatever it reports.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from commserve.faults import AgentRestarted, CommServeFault, LeaseLost
from commserve.jobs import lifecycle
from commserve.jobs.backlog import close_run
from commserve.jobs.lifecycle import Changes, Failure, Policy, Report
from commserve.jobs.states import ACTIVE, ENDED, GOOD, LEASED, State
from commserve.jobs.stranded import stranded
from commserve.store.tables import jobs, leases, runs
from runtime.logs import log

_FORGET_AT_ONCE = 1000  # a writer waits for whoever writes


class Answer(enum.Enum):
    GO_ON = "go on"
    CANCEL = "cancel"
    STALE = "stale"


Ended = Callable[[sa.Connection, Any, datetime], None]


class Progress:
    """Writes what happens to jobs. `ended` are called, in the same transaction, with each job that ends."""

    def __init__(self, policy: Policy, ended: Sequence[Ended] = ()) -> None:
        self.policy = policy
        self._ended = ended

    def holds(self, connection: sa.Connection, agent_id: str, assignment_id: str, fence: int) -> Any | None:
        """The job, if this agent holds it."""
        mine = sa.and_(jobs.c.assignment_id == assignment_id, jobs.c.fence == fence, jobs.c.agent_id == agent_id)
        return connection.execute(sa.select(jobs).where(mine)).one_or_none()

    def surely_ended(self, connection: sa.Connection, job_id: str, fence: int, now: datetime) -> bool:
        """Whether nobody works on that lease any more.

        Whoever said that it is done, or began anew, does not. An agent whose lease was lost may not know yet: it stops
        by itself within the length of a lease. A lease that nobody here knows is of a job that was forgotten long ago,
        or of a database that was put back: not our word.
        """
        wanted = sa.select(leases).where(leases.c.job_id == job_id, leases.c.fence == fence)
        lease = connection.execute(wanted).one_or_none()
        if lease is None or lease.ended_at is None:
            return False
        restarted = lease.fault_code == AgentRestarted.code and lease.outcome != State.CANCELLED
        return lease.outcome in GOOD or restarted or now - lease.ended_at >= self.policy.lease

    def report(
        self, connection: sa.Connection, agent_id: str, assignment_id: str, fence: int, report: Report, now: datetime
    ) -> tuple[Answer, Any | None]:
        """Take a report over; the answer, and the job as it is now."""
        job = self.holds(connection, agent_id, assignment_id, fence)
        if job is None:
            return Answer.STALE, None
        after = self.apply(connection, job, lifecycle.reported(job, report, now, self.policy), now)
        return (Answer.CANCEL if after.state == State.CANCELLING else Answer.GO_ON), after

    def renew(
        self, connection: sa.Connection, agent_id: str, held: Sequence[tuple[str, int]], now: datetime
    ) -> list[str]:
        """A heartbeat keeps what it names; the assignments among them that the agent does not hold."""
        mine = sa.select(jobs.c.id, jobs.c.assignment_id, jobs.c.fence).where(
            jobs.c.agent_id == agent_id, jobs.c.state.in_(LEASED), jobs.c.assignment_id.isnot(None)
        )
        held_by_id = {(row.assignment_id, row.fence): row.id for row in connection.execute(mine)}
        kept = [held_by_id[key] for key in held if key in held_by_id]
        if kept:
            longer = sa.update(jobs).where(jobs.c.id.in_(kept))
            connection.execute(longer.values(lease_until=now + self.policy.lease))
        return [assignment_id for assignment_id, fence in held if (assignment_id, fence) not in held_by_id]

    def restarted(self, connection: sa.Connection, agent_id: str, boot_id: str, now: datetime) -> int:
        """An agent began anew: what it held before is nobody's. How many."""
        before = sa.and_(jobs.c.agent_id == agent_id, jobs.c.state.in_(LEASED), jobs.c.boot_id != boot_id)
        return self._lose(connection, before, AgentRestarted, "restarted", now)

    def revoked(self, connection: sa.Connection, agent_id: str, now: datetime) -> int:
        """An agent counts no more: what it holds is nobody's. How many."""
        return self._lose(
            connection, sa.and_(jobs.c.agent_id == agent_id, jobs.c.state.in_(LEASED)), LeaseLost, "revoked", now
        )

    def _lose(
        self,
        connection: sa.Connection,
        which: sa.ColumnElement[bool],
        kind: type[CommServeFault],
        why: str,
        now: datetime,
    ) -> int:
        rows = connection.execute(sa.select(jobs).where(which, jobs.c.assignment_id.isnot(None))).all()
        count = 0
        for job in rows:
            with self._alone(connection, job):
                fault = kind(f"agent {job.agent_id} was {why} while it held the job")
                self.apply(connection, job, lifecycle.lost(job, Failure.of(fault), now, self.policy), now)
                count += 1
        return count

    def cancel(self, connection: sa.Connection, job: Any, by: str, now: datetime) -> Any:
        """Ends it, or asks its agent to. The caller looked that the state allows it."""
        return self.apply(connection, job, lifecycle.cancelled(job, by, now), now)

    def watch(self, connection: sa.Connection, now: datetime) -> int:
        """Look at every active job that time may do something to; how many changed."""
        count = 0
        for job in connection.execute(sa.select(jobs).where(_worth_a_look(now, self.policy))).all():
            with self._alone(connection, job):
                changes = lifecycle.watched(job, now, self.policy)
                if changes is not None:
                    self.apply(connection, job, changes, now)
                    count += 1
        for job, fault in stranded(connection):
            with self._alone(connection, job):
                self.apply(connection, job, lifecycle.refused(job, Failure.of(fault), now), now)
                count += 1
        return count

    @contextmanager
    def _alone(self, connection: sa.Connection, job: Any) -> Iterator[None]:
        """One job of many: what fails with it is undone and told, and the others go on."""
        try:
            with connection.begin_nested():
                yield
        except Exception as error:  # noqa: BLE001 # whatever it is, it is that job's own
            log().error("job", job=job.id, kind=job.kind, exc_info=error)

    def forget(self, connection: sa.Connection, now: datetime) -> None:
        """Drop some of what ended too long ago: jobs with their leases, and runs. Not all at once, if it is much."""
        before = now - self.policy.keep
        for table in (jobs, runs):
            old = sa.select(table.c.id).where(table.c.ended_at < before).limit(_FORGET_AT_ONCE)
            connection.execute(sa.delete(table).where(table.c.id.in_(old)))

    def apply(self, connection: sa.Connection, job: Any, changes: Changes, now: datetime) -> Any:
        """Write changes to a job that was read in this transaction; the row afterwards."""
        update = sa.update(jobs).where(jobs.c.id == job.id, jobs.c.state == job.state, jobs.c.fence == job.fence)
        after = connection.execute(update.values(**changes).returning(jobs)).one()
        if job.assignment_id is not None and after.assignment_id is None:
            self._close_lease(connection, job, after, now)
        if after.state in ENDED and job.state not in ENDED:
            for ended in self._ended:
                ended(connection, after, now)
            if after.run_id is not None:
                close_run(connection, after.run_id, now)
        return after

    def _close_lease(self, connection: sa.Connection, before: Any, after: Any, now: datetime) -> None:
        close = sa.update(leases).where(leases.c.job_id == before.id, leases.c.fence == before.fence)
        fault = {"fault_code": after.fault_code, "fault_message": after.fault_message}
        connection.execute(close.values(ended_at=now, outcome=after.state, **fault))


def _worth_a_look(now: datetime, policy: Policy) -> sa.ColumnElement[bool]:
    """Leased, or waiting too long, or waiting for a time that a clock which went back put too far away."""
    far_away = sa.or_(jobs.c.queued_at > now, jobs.c.not_before_at > now + policy.longest_wait)
    too_long = jobs.c.queued_at <= now - min(policy.queue, policy.settle)
    return sa.and_(jobs.c.state.in_(ACTIVE), sa.or_(jobs.c.assignment_id.isnot(None), far_away, too_long))
