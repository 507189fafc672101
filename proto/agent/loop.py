"""An agent at work: it registers, beats, leases, runs what it leased, and reports.

    one thread beats      one thread leases      one thread reports      a thread for each assignment

A CommServe that does not answer stops nothing until a lease runs out; then its work stops by itself (`Work.check`).
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from proto import agents_pb2
from proto.agent.line import Line
from proto.agent.metrics import AgentMetrics
from proto.agent.work import LeaseLost, Work, WorkCancelled
from proto.faults import PeerRefused, encode, retry_of, sayable
from runtime.clock import Clock
from runtime.faults import Fault, Retry
from runtime.logs import about, log, troubles

Handler = Callable[[Work], Mapping[str, Any]]

REPORT_SECONDS = 2.0
LASTING = frozenset({"watch"})  # kinds that wait most of the time, and for long: they take no slot from others
_LEASE_WAIT_SECONDS = 20
_AGAIN_SECONDS = 5.0  # after a CommServe that did not answer
_FINAL = (
    agents_pb2.ReportRequest.DONE,
    agents_pb2.ReportRequest.FAILED,
    agents_pb2.ReportRequest.CANCELLED,
    agents_pb2.ReportRequest.RETURNED,
)


class Unexpected(Fault):
    """An assignment failed in a way that has no name: the agent's log tells."""

    code = "proto.unexpected"
    retry = Retry.LATER


@dataclass
class Denied:
    """Agents whose certificates count no more, and when we last heard so."""

    version: int = 0
    agents: frozenset[str] = frozenset()
    heard_at: float = 0.0  # monotonic seconds


class Loop:
    """Runs in threads of its own from `start` to `drain`."""

    def __init__(
        self,
        line: Line,
        about_us: Callable[[], agents_pb2.RegisterRequest],
        handlers: Mapping[str, Handler],
        slots: int,
        clock: Clock,
        metrics: AgentMetrics,
    ) -> None:
        """`about_us` says at every registration what to register; a handler's key is its kind of assignment."""
        self._line = line
        self._about_us = about_us
        self._handlers = handlers
        self._slots = slots
        self._clock = clock
        self._metrics = metrics
        self._boot_id = os.urandom(8).hex()
        self._heartbeat_seconds = 10.0
        self._work_by_id: dict[str, Work] = {}
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._stop = threading.Event()
        self._registered = threading.Event()
        self._threads = [
            threading.Thread(target=run, name=name, daemon=True)
            for name, run in (("beat", self._beat), ("lease", self._lease), ("report", self._report_running))
        ]
        self.denied = Denied(heard_at=clock.monotonic_seconds())
        metrics.silent_since(lambda: clock.monotonic_seconds() - self.denied.heard_at)
        self.ticket_key = b""
        self.drained_by_commserve = threading.Event()

    def start(self) -> None:
        """Begin; the CommServe may be away, it is tried until it answers."""
        for thread in self._threads:
            thread.start()

    def wait_registered(self, seconds: float) -> bool:
        """Whether the CommServe knew us within so many seconds."""
        return self._registered.wait(seconds)

    def register_again(self) -> None:
        """Say anew what `about_us` says; what runs goes on."""
        try:
            self._register()
        except Fault:
            self._registered.clear()  # the next heartbeat tries it

    @property
    def healthy(self) -> bool:
        """Whether its threads run."""
        return self._stop.is_set() or all(thread.is_alive() for thread in self._threads)

    def drain(self, grace_seconds: float) -> None:
        """Take nothing new, let work end for so long, then return the rest; on return no work runs."""
        self._stop.set()
        self._line.lease_no_more()  # before anything is returned: it would be given back to us
        self._return_lasting()
        with self._changed:
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._work_by_id, grace_seconds)
            for work in self._work_by_id.values():
                work.cancel("the agent is stopping", returned=True)
            self._changed.wait_for(lambda: not self._work_by_id)

    def _register(self) -> None:
        request = self._about_us()
        request.boot_id = self._boot_id
        request.capabilities.extend(sorted(self._handlers))
        reply = self._line.register(request)
        self._heartbeat_seconds = float(reply.heartbeat_seconds or self._heartbeat_seconds)
        self.ticket_key = reply.ticket_key
        self._learn(reply.deny_list)
        self._registered.set()
        log().info("registered", commserve_version=reply.version)

    def _learn(self, deny_list: agents_pb2.DenyList) -> None:
        self.denied = Denied(deny_list.version, frozenset(deny_list.agents), self._clock.monotonic_seconds())

    @property
    def _ended(self) -> bool:
        return self._stop.is_set() and not self._work_by_id

    def _doze(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._ended, seconds)

    def _beat(self) -> None:
        """Also while draining: leases of what still runs must not run out meanwhile."""
        while not self._ended:
            try:
                if not self._registered.is_set():
                    self._register()
                self._beat_once()
            except Fault as fault:
                self._registered.clear()  # a CommServe that was restarted wants to hear who we are
                level = log().error if isinstance(fault, PeerRefused) else log().warning
                level("commserve silent", code=fault.code, message=str(fault))
                self._doze(_AGAIN_SECONDS)
            else:
                self._doze(self._heartbeat_seconds)

    def _beat_once(self) -> None:
        with self._lock:
            running = dict(self._work_by_id)
        held = [agents_pb2.Held(assignment=w.assignment.id, fence=w.assignment.fence) for w in running.values()]
        request = agents_pb2.HeartbeatRequest(
            boot_id=self._boot_id, deny_list_version=self.denied.version, held=held, troubles=troubles()
        )
        request.time = self._clock.now()
        reply = self._line.heartbeat(request)
        if reply.HasField("deny_list"):
            self._learn(reply.deny_list)
        self.denied.heard_at = self._clock.monotonic_seconds()
        rates = {rate.assignment: rate.bytes_per_second for rate in reply.rates}
        for name, work in running.items():
            if name in reply.stop:
                work.lose("the CommServe stopped it")
            else:
                work.renewed(rates.get(name))
        (self.drained_by_commserve.set if reply.drain else self.drained_by_commserve.clear)()
        if reply.drain:
            self._return_lasting()

    def _lease(self) -> None:
        while not self._stop.is_set():
            with self._changed:
                free = self._slots - sum(work.kind not in LASTING for work in self._work_by_id.values())
                if free <= 0 or self.drained_by_commserve.is_set() or not self._registered.is_set():
                    self._changed.wait(1.0)
                    continue
            request = agents_pb2.LeaseRequest(boot_id=self._boot_id, free_slots=free, wait_seconds=_LEASE_WAIT_SECONDS)
            try:
                assignments = self._line.lease(request).assignments
            except Fault as fault:
                if not self._stop.is_set():
                    log().warning("no lease", code=fault.code, message=str(fault))
                self._stop.wait(_AGAIN_SECONDS)
                continue
            for assignment in assignments:
                self._begin(assignment)

    def _return_lasting(self) -> None:
        """Work that would not end by itself in time goes to another agent at once."""
        with self._lock:
            for work in self._work_by_id.values():
                if work.kind in LASTING:
                    work.cancel("the agent takes nothing new", returned=True)

    def _begin(self, assignment: agents_pb2.Assignment) -> None:
        work = Work(assignment, self._clock, self._report)
        with self._lock:
            if self._stop.is_set():
                work.cancel("the agent is stopping", returned=True)
            self._work_by_id[assignment.id] = work
        threading.Thread(target=self._run, args=(work,), name=f"work-{assignment.id[:8]}", daemon=True).start()

    def _run(self, work: Work) -> None:
        job = work.assignment
        with about(job=job.job, attempt=job.attempt, kind=work.kind, trace=job.trace):
            log().info("begun")
            self._metrics.began(work.kind)
            began = self._clock.monotonic_seconds()
            final = agents_pb2.ReportRequest(assignment=work.assignment.id, fence=work.assignment.fence)
            try:
                work.check()  # it may have come while the agent was told to stop
                handler = self._handlers[work.kind]
                final.result = json.dumps(handler(work))
                final.state = agents_pb2.ReportRequest.DONE
            except WorkCancelled:
                request = agents_pb2.ReportRequest
                final.state = request.RETURNED if work.returned else request.CANCELLED
            except LeaseLost as fault:
                log().warning("lease lost", message=str(fault))
            except Fault as fault:
                log().warning("failed", code=fault.code, message=str(fault))
                final.state = agents_pb2.ReportRequest.FAILED
                final.fault.CopyFrom(encode(fault))
            except Exception as error:  # noqa: BLE001 # the top of an assignment
                log().error("unexpected", exc_info=error)
                final.state = agents_pb2.ReportRequest.FAILED
                final.fault.CopyFrom(encode(Unexpected(f"{type(error).__name__}: {error}")))
            state = "LOST" if work.lost else agents_pb2.ReportRequest.State.Name(final.state)
            self._metrics.ended(work.kind, state, self._clock.monotonic_seconds() - began, work.progress)
            self._end(work, final)

    def _end(self, work: Work, final: agents_pb2.ReportRequest) -> None:
        """Report until it is heard, or the lease is over: then the CommServe finds out by itself.

        What will never be taken as it is ends as a failure; else it would keep its slot, and its lease by our beats.
        """
        final.progress.CopyFrom(work.progress)
        final.sid = work.sid
        final.warnings.extend(map(sayable, work.warnings))
        while final.state in _FINAL and not work.lost:
            try:
                reply = self._line.report(final)
                log().info("ended", state=agents_pb2.ReportRequest.State.Name(final.state), answer=reply.answer)
                break
            except Fault as fault:
                log().warning("report not heard", code=fault.code, message=str(fault))
                if retry_of(fault) is Retry.NEVER:
                    if final.state == agents_pb2.ReportRequest.FAILED:
                        break
                    final.state, final.result = agents_pb2.ReportRequest.FAILED, ""
                    final.fault.CopyFrom(encode(fault))
                    continue
                if work.over or (self._stop.is_set() and work.kind in LASTING):
                    break  # an agent that stops is not held up by what its lease ends as well
                self._doze(_AGAIN_SECONDS)
        with self._changed:
            del self._work_by_id[work.assignment.id]
            self._changed.notify_all()

    def _report(self, work: Work, state: int) -> agents_pb2.ReportReply:
        return self._line.report(
            agents_pb2.ReportRequest(
                assignment=work.assignment.id,
                fence=work.assignment.fence,
                state=agents_pb2.ReportRequest.State.ValueType(state),
                progress=work.progress,
                sid=work.sid,
                ticket_seconds=work.ticket_seconds,
            )
        )

    def _report_running(self) -> None:
        while not self._ended:
            self._doze(REPORT_SECONDS)
            with self._lock:
                running = list(self._work_by_id.values())
            for work in running:
                try:
                    state = agents_pb2.ReportRequest.COMMITTING if work.sid else agents_pb2.ReportRequest.RUNNING
                    work.answered(self._report(work, state))
                except Fault as fault:
                    log().warning("report not heard", code=fault.code, message=str(fault))
                    break
