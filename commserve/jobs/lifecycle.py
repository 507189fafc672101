"""What happens to a job: pure functions from a row, an event and the present to the columns that change.

Every way between states that the program can take is one of these functions; what they return is written under a
condition that the row is still the one they saw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from commserve.faults import (
    JobNotTaken,
    JobReturned,
    JobStalled,
    LeaseLost,
    OutcomeUnknown,
    RequestInvalid,
    Unexpected,
)
from commserve.jobs.kinds import ROLE, SETTLING
from commserve.jobs.states import State, step
from runtime.faults import Fault, Retry

Changes = dict[str, Any]

_PROGRESS = ("phase", "done_bytes", "total_bytes", "read_bytes", "new_bytes", "stored_bytes")
_MOST_WARNINGS = 100
_MOST_CHARS = 4000
_FOREIGN = "media.session_foreign"  # an agent said that it commits a session which is not its job's
_FREE: Changes = {"assignment_id": None, "agent_id": None, "boot_id": "", "lease_until": None, "progress_at": None}


LEASE_COLUMNS = (
    "state",
    "agent_id",
    "boot_id",
    "assignment_id",
    "fence",
    "attempts",
    "lease_until",
    "progress_at",
    "started_at",
)


@dataclass(frozen=True)
class Policy:
    """How long things may take."""

    lease: timedelta = timedelta(seconds=60)
    stall: timedelta = timedelta(minutes=30)
    cancel: timedelta = timedelta(minutes=10)
    soon_wait: timedelta = timedelta(seconds=5)  # before another attempt when somebody died; quadruples
    first_wait: timedelta = timedelta(minutes=1)  # before another attempt when the work failed; doubles
    longest_wait: timedelta = timedelta(minutes=30)
    queue: timedelta = timedelta(days=7)
    settle: timedelta = timedelta(days=1)
    keep: timedelta = timedelta(days=90)  # what ended
    most_returns: int = 20


@dataclass(frozen=True)
class Failure:
    """A fault as it is kept: of an agent, or of our own."""

    code: str
    message: str
    retry: Retry

    @staticmethod
    def of(fault: Fault) -> Failure:
        return Failure(fault.code, str(fault), fault.retry)


@dataclass(frozen=True)
class Report:
    """What an agent says of an assignment."""

    state: str  # RUNNING | COMMITTING | DONE | FAILED | CANCELLED | RETURNED
    progress: dict[str, Any] = field(default_factory=dict)
    sid: int = 0
    result: dict[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    failure: Failure | None = None


def leased(job: Any, agent_id: str, boot_id: str, assignment_id: str, now: datetime, policy: Policy) -> Changes:
    """An agent takes it: QUEUED, or COMMITTING when it is to be settled. Sets the LEASE_COLUMNS."""
    settling = job.state == State.COMMITTING
    return {
        "state": step(job, State.COMMITTING if settling else State.ASSIGNED),
        "agent_id": agent_id,
        "boot_id": boot_id,
        "assignment_id": assignment_id,
        "fence": job.fence + 1,
        "attempts": job.attempts + (0 if settling else 1),
        "lease_until": now + policy.lease,
        "progress_at": now,
        "started_at": job.started_at or now,
    }


def reported(job: Any, report: Report, now: datetime, policy: Policy) -> Changes:
    """What its agent reports. Whether the agent still holds it was looked at before. Raises RequestInvalid."""
    changes = _progressed(job, report, now)
    ends = {"DONE": done, "FAILED": failed, "CANCELLED": stopped, "RETURNED": returned}
    end = ends.get(report.state)
    if end is not None:
        return changes | end(job, report, now, policy)
    changes["lease_until"] = now + policy.lease
    if job.state == State.CANCELLING or is_settling(job):
        return changes
    if report.state == "COMMITTING":
        if job.kind != "backup" or not (report.sid or job.sid):
            raise RequestInvalid(f"job {job.id}: COMMITTING: expected of a backup with its session, found {job.kind}")
        return changes | {"state": step(job, State.COMMITTING), "sid": report.sid or job.sid}
    if job.state == State.ASSIGNED:
        changes["state"] = step(job, State.RUNNING)
    return changes


def _progressed(job: Any, report: Report, now: datetime) -> Changes:
    """Progress is what changed, not that somebody said something."""
    said = {name: report.progress[name] for name in _PROGRESS if name in report.progress}
    moved = any(getattr(job, name) != value for name, value in said.items()) or report.state != job.state
    changes: Changes = dict(said) if not is_settling(job) else {}
    if moved:
        changes["progress_at"] = now
    return changes


def is_settling(job: Any) -> bool:
    """Whether a MediaAgent is to find out, or finds out, how its commit went."""
    return job.state == State.COMMITTING and job.role == SETTLING and ROLE[job.kind] != SETTLING


def done(job: Any, report: Report, now: datetime, policy: Policy) -> Changes:
    """It is done; or the register that was to be read says whether it is."""
    if is_settling(job):
        return settled(job, report, now, policy)
    warnings = [*job.warnings, *report.warnings][:_MOST_WARNINGS]
    state = State.DONE_WITH_WARNINGS if warnings else State.DONE
    return _ended(job, state, now) | {"result": report.result, "warnings": warnings, **_NO_FAULT}


def settled(job: Any, report: Report, now: datetime, policy: Policy) -> Changes:
    """`committed` in the result is what the register says; else there is a tombstone, and nothing was lost but time."""
    if report.result.get("committed"):
        warnings = [*job.warnings, "the agent was lost while it committed; the register says that it did"]
        kept = {"result": report.result, "warnings": warnings, "role": ROLE[job.kind], **_NO_FAULT}
        return _ended(job, State.DONE_WITH_WARNINGS, now) | kept
    failure = Failure(job.fault_code, job.fault_message, Retry(job.fault_retry))
    return _tried_again(job, failure, now, policy) | {"role": ROLE[job.kind], "sid": 0}


def failed(job: Any, report: Report, now: datetime, policy: Policy) -> Changes:
    """Its agent failed. Who fails while committing may have committed."""
    failure = report.failure or Failure.of(Unexpected("the agent failed and gave no reason"))
    if is_settling(job):
        if failure.code == _FOREIGN:
            return _ended(job, State.FAILED, now) | _fault(failure)
        return _FREE | {"not_before_at": now + (policy.soon_wait if failure.retry is Retry.SOON else policy.first_wait)}
    if job.state == State.COMMITTING:
        return to_settle(job, failure, now)
    if job.state == State.CANCELLING:
        return _ended(job, State.CANCELLED, now) | _fault(failure)
    return _tried_again(job, failure, now, policy)


def stopped(job: Any, report: Report, now: datetime, policy: Policy) -> Changes:
    """Its agent stopped as it was asked to; or by itself, which is a return."""
    if job.state == State.CANCELLING:
        return _ended(job, State.CANCELLED, now)
    return returned(job, report, now, policy)


def returned(job: Any, _report: Report, now: datetime, policy: Policy) -> Changes:
    """Its agent drains or restarts: no attempt was lost, and another agent may have it at once."""
    if is_settling(job):
        return _FREE
    if job.state == State.COMMITTING:
        return to_settle(job, Failure.of(LeaseLost("returned while committing")), now)
    if job.state == State.CANCELLING:
        return _ended(job, State.CANCELLED, now)
    if job.returns >= policy.most_returns:
        return _ended(job, State.FAILED, now) | _fault(Failure.of(JobReturned(f"returned {job.returns + 1} times")))
    again = {"state": step(job, State.QUEUED), "queued_at": now, "not_before_at": now}
    return _FREE | again | {"returns": job.returns + 1, "attempts": job.attempts - 1}


def lost(job: Any, failure: Failure, now: datetime, policy: Policy) -> Changes:
    """The lease is over: nobody is known to work on it any more, and whoever does is refused from here on."""
    if is_settling(job):
        return _FREE | {"not_before_at": now + policy.soon_wait}
    if job.state == State.COMMITTING:
        return to_settle(job, failure, now)
    if job.state == State.CANCELLING:
        return _ended(job, State.CANCELLED, now)
    again = _tried_again(job, failure, now, policy)
    if again["state"] == State.QUEUED:
        again |= _avoiding(job)
        if not job.avoided:
            again["not_before_at"] = now  # the first time it was the agent; the second time it may be the job
    return again


def to_settle(job: Any, failure: Failure, now: datetime) -> Changes:
    """A commit whose outcome nobody knows: a MediaAgent reads the register, or puts a tombstone there."""
    if ROLE[job.kind] == SETTLING or not job.sid:
        raise AssertionError(f"job {job.id}: {job.kind} commits nothing")
    return _FREE | {"role": SETTLING, "queued_at": now, "not_before_at": now} | _fault(failure)


def cancelled(job: Any, by: str, now: datetime) -> Changes:
    """Somebody wants it to end. While it commits it is too late: the caller looked."""
    if job.state == State.QUEUED:
        return _ended(job, State.CANCELLED, now) | {"cancelled_by": by}
    return {"state": step(job, State.CANCELLING), "cancelled_by": by, "cancel_at": now}


def refused(job: Any, failure: Failure, now: datetime) -> Changes:
    """QUEUED, and nobody will ever take it."""
    return _ended(job, State.FAILED, now) | _fault(failure)


def watched(job: Any, now: datetime, policy: Policy) -> Changes | None:
    """What time alone does to a job; None where nothing is wrong.

    A clock that went back makes no lease longer: times that lie too far ahead are brought near.
    """
    if job.assignment_id is None:
        return _watched_waiting(job, now, policy)
    near = {
        "lease_until": min(job.lease_until, now + policy.lease),
        "progress_at": min(job.progress_at, now),
        "cancel_at": job.cancel_at and min(job.cancel_at, now),
    }
    if now >= job.lease_until:
        silent = LeaseLost(f"agent {job.agent_id} was silent; its lease ended at {job.lease_until.isoformat()}")
        return lost(job, Failure.of(silent), now, policy)
    if now - job.progress_at >= policy.stall:
        still = JobStalled(f"agent {job.agent_id} moved nothing since {job.progress_at.isoformat()}")
        return lost(job, Failure.of(still), now, policy)
    if job.state == State.CANCELLING and now - job.cancel_at >= policy.cancel:
        return _ended(job, State.CANCELLED, now)
    moved = {name: value for name, value in near.items() if value != getattr(job, name)}
    return moved or None


def _watched_waiting(job: Any, now: datetime, policy: Policy) -> Changes | None:
    longest = policy.settle if job.state == State.COMMITTING else policy.queue
    if now - job.queued_at >= longest:
        if job.state == State.COMMITTING:
            why = f"session {job.sid:010x} was committing, and no MediaAgent could read its register"
            fault: Fault = OutcomeUnknown(f"{why} since {job.queued_at.isoformat()}")
        else:
            fault = JobNotTaken(f"no agent took it since {job.queued_at.isoformat()}")
        return _ended(job, State.FAILED, now) | _fault(Failure.of(fault)) | {"role": ROLE[job.kind]}
    near = {"queued_at": min(job.queued_at, now)}
    if job.attempts or job.state == State.COMMITTING:
        near["not_before_at"] = min(job.not_before_at, now + policy.longest_wait)
    moved = {name: value for name, value in near.items() if value != getattr(job, name)}
    return moved or None


def _tried_again(job: Any, failure: Failure, now: datetime, policy: Policy) -> Changes:
    """After a failure: never, soon, later, or elsewhere, as the fault says, and so often as the plan says."""
    if failure.retry is Retry.NEVER or job.attempts >= job.attempts_allowed:
        return _ended(job, State.FAILED, now) | _fault(failure)
    again: Changes = {"state": step(job, State.QUEUED), "queued_at": now, "not_before_at": now}
    failed_before = max(0, job.attempts - 1)
    if failure.retry is Retry.SOON:
        again["not_before_at"] = now + min(policy.soon_wait * 4**failed_before, policy.longest_wait)
    elif failure.retry is Retry.LATER or job.avoided:  # what failed at two agents waits as well
        again["not_before_at"] = now + min(policy.first_wait * 2**failed_before, policy.longest_wait)
    if failure.retry is Retry.ELSEWHERE:
        again |= _avoiding(job)
    return _FREE | again | _fault(failure)


def _avoiding(job: Any) -> Changes:
    return {"avoided": sorted({*job.avoided, job.agent_id} - {None})}


def _ended(job: Any, state: State, now: datetime) -> Changes:
    """The agent stays named: people want to know who did it."""
    gone = {"assignment_id": None, "lease_until": None}
    return {"state": step(job, state), "ended_at": now, "role": ROLE[job.kind], **gone}


_NO_FAULT = {"fault_code": "", "fault_message": "", "fault_retry": ""}


def _fault(failure: Failure) -> Changes:
    kept = failure.message[:_MOST_CHARS]
    return {"fault_code": failure.code, "fault_message": kept, "fault_retry": failure.retry.value}
