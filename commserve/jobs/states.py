"""The states of a job, and the only ways between them.

    QUEUED -> ASSIGNED -> RUNNING -> COMMITTING -> DONE | DONE_WITH_WARNINGS
       ^         |           |            |
       +---------+-----------+------------+        also: every state but CANCELLING -> FAILED; QUEUED -> CANCELLED;
                                                         ASSIGNED, RUNNING -> CANCELLING -> CANCELLED

QUEUED -> FAILED: nobody took it, or nobody ever can. ASSIGNED and RUNNING end well too where nothing is committed.
CANCELLING ends well where its agent was done before it heard of it.

A job whose lease is lost while COMMITTING may have committed: it stays COMMITTING, and a MediaAgent reads the session's
register. The register decides: DONE, or QUEUED again.
"""

from __future__ import annotations

import enum
from typing import Any


class State(enum.StrEnum):
    QUEUED = "QUEUED"
    ASSIGNED = "ASSIGNED"
    RUNNING = "RUNNING"
    COMMITTING = "COMMITTING"
    CANCELLING = "CANCELLING"
    DONE = "DONE"
    DONE_WITH_WARNINGS = "DONE_WITH_WARNINGS"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


GOOD = frozenset({State.DONE, State.DONE_WITH_WARNINGS})
ENDED = GOOD | {State.FAILED, State.CANCELLED}
LEASED = frozenset({State.ASSIGNED, State.RUNNING, State.COMMITTING, State.CANCELLING})
ACTIVE = LEASED | {State.QUEUED}

NEXT: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.ASSIGNED, State.CANCELLED, State.FAILED}),
    State.ASSIGNED: frozenset({State.QUEUED, State.RUNNING, State.COMMITTING, State.CANCELLING}) | ENDED,
    State.RUNNING: frozenset({State.QUEUED, State.COMMITTING, State.CANCELLING}) | ENDED,
    State.COMMITTING: frozenset({State.QUEUED}) | ENDED,
    # an agent that finished before it heard of the cancelling tells the truth: the work is done
    State.CANCELLING: frozenset({State.CANCELLED}) | GOOD,
    **{state: frozenset() for state in ENDED},
}


def step(job: Any, to: State) -> State:
    """`to`, after looking whether the way from the job's state leads there. Another way is a fault of the program."""
    now = State(job.state)
    if to is not now and to not in NEXT[now]:
        raise AssertionError(f"job {job.id}: no way from {now} to {to}")
    return to
