"""One assignment while an agent works on it: how far it is, and whether it may go on.

    held --cancel, drain--> stopping --> reported      --lease over, stale--> lost: stopped, and nothing is reported

A lease is believed for its length minus a margin after the last answer from the CommServe, on this machine's monotonic
clock. Whoever cannot renew it stops by itself, so that a successor finds nobody still at work.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from proto import agents_pb2
from proto.faults import PeerBusy, PeerSlow, PeerUnreachable
from runtime.clock import Clock
from runtime.faults import Fault, Retry
from runtime.logs import log

LEASE_MARGIN = 0.2  # of its length
_AGAIN_SECONDS = 1.0  # after a CommServe that did not answer


class WorkCancelled(Fault):
    """Somebody asked for the end of this work, or the agent drains."""

    code = "proto.work_cancelled"


class LeaseLost(Fault):
    """The assignment is not this agent's any more, or it could not find out whether it still is."""

    code = "proto.lease_lost"
    retry = Retry.ELSEWHERE


class Work:
    """Handed to a handler. `check` and `advance` are called often, from any thread, and end it by raising."""

    def __init__(
        self, assignment: agents_pb2.Assignment, clock: Clock, report: Callable[[Work, int], agents_pb2.ReportReply]
    ) -> None:
        self.assignment = assignment
        self.warnings: list[str] = []
        self.bytes_per_second = 0
        self.sid = 0
        self.ticket = assignment.ticket  # the newest
        self._ticket_at = clock.monotonic_seconds()
        self._clock = clock
        self._report = report
        self._lock = threading.Lock()
        self._progress = agents_pb2.Progress()
        self._end: Fault | None = None
        self._returned = False
        self._ending = threading.Event()
        self._extend()

    @property
    def kind(self) -> str:
        """Which work: the name of the member that is set, `backup`."""
        return self.assignment.WhichOneof("work") or "nothing"

    @property
    def returned(self) -> bool:
        """Whether it was stopped because the agent drains, so somebody else should have it."""
        return self._returned

    @property
    def ticket_seconds(self) -> int:
        """How old the ticket is: the CommServe sends another before it is over."""
        return int(self._clock.monotonic_seconds() - self._ticket_at)

    @property
    def progress(self) -> agents_pb2.Progress:
        """A copy."""
        with self._lock:
            copy = agents_pb2.Progress()
            copy.CopyFrom(self._progress)
            return copy

    def begin(self, phase: str, total_bytes: int) -> None:
        """A phase begins; what is done in it counts from zero."""
        with self._lock:
            self._progress.phase = phase
            self._progress.total_bytes = total_bytes
            self._progress.done_bytes = 0
        self.check()

    def advance(self, count: int) -> None:
        """So many bytes more are done. Raises what `check` does."""
        with self._lock:
            self._progress.done_bytes += count
        self.check()

    def stored(self, count: int) -> None:
        """So many bytes more lie in the pool."""
        with self._lock:
            self._progress.stored_bytes += count

    def wait(self, seconds: float) -> None:
        """Let time pass; less when the work must end meanwhile."""
        self._ending.wait(seconds)

    def check(self) -> None:
        """Raises WorkCancelled or LeaseLost when the work must end."""
        if self._end is None and self.over:
            self.lose("the CommServe did not renew the lease in time")
        if self._end is not None:
            raise self._end

    def committing(self, sid: int) -> None:
        """Tell the CommServe that session `sid` is about to commit, and hear that it may. Raises as `check`.

        One that is away, being restarted say, is told when it is back, if that is before the lease is over.
        """
        self.sid = sid
        while True:
            self.check()
            try:
                self.answered(self._report(self, agents_pb2.ReportRequest.COMMITTING))
            except (PeerUnreachable, PeerSlow, PeerBusy) as fault:
                log().info("commit not announced", code=fault.code, message=str(fault))
                self.wait(_AGAIN_SECONDS)
            else:
                break
        self.check()

    def answered(self, reply: agents_pb2.ReportReply) -> None:
        """What the CommServe said of it."""
        if reply.answer == agents_pb2.ReportReply.GO_ON:
            self.bytes_per_second = reply.bytes_per_second
            if reply.ticket:
                self.ticket, self._ticket_at = reply.ticket, self._clock.monotonic_seconds()
            self._extend()
        elif reply.answer == agents_pb2.ReportReply.CANCEL:
            self.cancel("cancelled")
        else:
            self.lose("the CommServe gave the assignment to another agent")

    def renewed(self, bytes_per_second: int | None) -> None:
        """A heartbeat that named it was answered, and did not stop it."""
        if bytes_per_second is not None:
            self.bytes_per_second = bytes_per_second
        self._extend()

    def cancel(self, reason: str, *, returned: bool = False) -> None:
        """End it; the first reason counts."""
        with self._lock:
            if self._end is None:
                self._end, self._returned = WorkCancelled(f"job {self.assignment.job}: {reason}"), returned
                self._ending.set()

    def lose(self, reason: str) -> None:
        """End it without a report: it is somebody else's, or nobody's."""
        with self._lock:
            if not isinstance(self._end, LeaseLost):
                self._end = LeaseLost(f"job {self.assignment.job}: {reason}")
                self._ending.set()

    @property
    def lost(self) -> bool:
        """Whether it is not ours any more."""
        return isinstance(self._end, LeaseLost)

    @property
    def over(self) -> bool:
        """Whether the lease is too old to be believed."""
        return self._clock.monotonic_seconds() >= self._until

    def _extend(self) -> None:
        self._until = self._clock.monotonic_seconds() + self.assignment.lease_seconds * (1 - LEASE_MARGIN)
