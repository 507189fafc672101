"""What can go wrong in the control plane. Every code stands in docs/faults.md; `status` is what HTTP makes of it."""

from __future__ import annotations

from typing import ClassVar

from runtime.faults import Fault, Retry


class CommServeFault(Fault):
    """A branch of the tree."""

    status: ClassVar[int] = 400


class Unexpected(CommServeFault):
    """A fault of the program itself, or an agent that failed and gave no reason."""

    code = "commserve.unexpected"
    retry = Retry.LATER
    status = 500


class NotFound(CommServeFault):
    """No such thing, or nothing that this person may know of."""

    code = "commserve.not_found"
    status = 404


class RequestInvalid(CommServeFault):
    """A request does not say what it should."""

    code = "commserve.request_invalid"
    status = 422


class RequestTooLong(CommServeFault):
    """A request's body is longer than any that makes sense."""

    code = "commserve.request_too_long"
    status = 413


class NameTaken(CommServeFault):
    """A name is in use already."""

    code = "commserve.name_taken"
    status = 409


class InUse(CommServeFault):
    """Something else refers to what should go."""

    code = "commserve.in_use"
    status = 409


class Changed(CommServeFault):
    """Somebody changed it since it was read (`If-Match`)."""

    code = "commserve.changed"
    status = 412


class KeyReused(CommServeFault):
    """An idempotency key came again with another request."""

    code = "commserve.key_reused"
    status = 422


class AnswerNotKept(CommServeFault):
    """The request was done before, and its answer held a secret that is shown once."""

    code = "commserve.answer_not_kept"
    status = 409


class NotAuthenticated(CommServeFault):
    """No token, or not one that counts."""

    code = "commserve.not_authenticated"
    status = 401


class NotAllowed(CommServeFault):
    """The person is known, and may not do this here."""

    code = "commserve.not_allowed"
    status = 403


class TooManyAttempts(CommServeFault):
    """Too many tries to log in: with one name, none of them with the right password, or of all at the same time."""

    code = "commserve.too_many_attempts"
    retry = Retry.LATER
    status = 429


class StateForbids(CommServeFault):
    """The state of a job or an agent does not allow what was asked."""

    code = "commserve.state_forbids"
    status = 409


class JobActive(CommServeFault):
    """The same thing is being done already."""

    code = "commserve.job_active"
    retry = Retry.LATER
    status = 409


class LeaseLost(CommServeFault):
    """An agent fell silent while it held a job."""

    code = "commserve.lease_lost"
    retry = Retry.SOON


class AgentRestarted(CommServeFault):
    """An agent began anew while it held a job: the process that worked on it is gone."""

    code = "commserve.agent_restarted"
    retry = Retry.SOON


class JobStalled(CommServeFault):
    """An agent holds a job and reports, but nothing moves."""

    code = "commserve.job_stalled"
    retry = Retry.ELSEWHERE


class JobNotTaken(CommServeFault):
    """No agent took a job for as long as jobs wait."""

    code = "commserve.job_not_taken"


class JobReturned(CommServeFault):
    """Agents gave a job back more often than is reasonable."""

    code = "commserve.job_returned"


class OutcomeUnknown(CommServeFault):
    """Whether a backup committed could not be found out in time: the catalog will show."""

    code = "commserve.outcome_unknown"


class NoAgent(CommServeFault):
    """There is no agent that could do this, or more than one and none was named."""

    code = "commserve.no_agent"
    status = 409


class RetentionRefused(CommServeFault):
    """Expiry refuses to decide: the clock or the marks do not look right."""

    code = "commserve.retention_refused"
    status = 409


class AgentRefused(CommServeFault):
    """A certificate that names no agent of ours, or one that is revoked."""

    code = "commserve.agent_refused"
    status = 403


class JoinRefused(CommServeFault):
    """A join token that is unknown, used, too old, or for another role or name; or a request that does not fit it."""

    code = "commserve.join_refused"
    status = 403


class SecretNeeded(CommServeFault):
    """An agent is to use a secret that is not sealed to it."""

    code = "commserve.secret_needed"
    status = 422


class StateUnfit(CommServeFault):
    """The state directory or what lies in it cannot be used."""

    code = "commserve.state_unfit"


class DatabaseTooNew(CommServeFault):
    """The database was migrated by a later version."""

    code = "commserve.database_too_new"


class AgentVersionUnfit(CommServeFault):
    """An agent is of a release that this CommServe does not serve."""

    code = "commserve.agent_version_unfit"
    status = 409
