"""An agent's loop against a CommServe on a real socket."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from media.faults import PointMissing, RepositoryFull
from proto import agents_pb2
from proto.agent.line import Line
from proto.agent.loop import Loop
from proto.agent.metrics import AgentMetrics
from proto.agent.work import LeaseLost, Work, WorkCancelled
from proto.faults import PeerSlow, PeerUnreachable
from runtime.clock import SystemClock
from tests.proto.agent.commserve import FakeCommServe
from tests.proto.authority import Authority

Report = agents_pb2.ReportRequest


class SetClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> str:
        return "2026-01-01T00:00:00.000000Z"

    def monotonic_seconds(self) -> float:
        return self.seconds


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@contextmanager
def at_work(
    authority: Authority, handler: Callable[[Work], Mapping[str, Any]], slots: int = 1
) -> Iterator[tuple[FakeCommServe, Loop]]:
    commserve = FakeCommServe(authority.commserve())
    line = Line(commserve.address, authority.agent("vsa", "0f0e"))
    loop = Loop(
        line,
        agents_pb2.RegisterRequest,
        {"discover": handler, "watch": until_ended},
        slots,
        SystemClock(),
        AgentMetrics(CollectorRegistry()),
    )
    loop.start()
    try:
        assert loop.wait_registered(20)
        yield commserve, loop
    finally:
        commserve.answer = agents_pb2.ReportReply.GO_ON
        loop.drain(0)
        line.close()
        commserve.close()


def until_ended(work: Work) -> None:
    while True:
        work.advance(1)
        threading.Event().wait(0.01)


def test_what_was_leased_is_run_and_its_result_reported(authority: Authority) -> None:
    def count(work: Work) -> dict[str, int]:
        work.begin("read", 100)
        work.advance(60)
        work.warnings.append("odd")
        return {"machines": 3}

    with at_work(authority, count) as (commserve, loop):
        assert commserve.registered == ["ingot://agent/vsa/0f0e"]
        assert (loop.ticket_key, loop.denied.agents) == (b"key", {"bad"})
        commserve.give("1")
        report = commserve.hear(lambda report: report.state == Report.DONE)
    assert (json.loads(report.result), report.fence, report.warnings) == ({"machines": 3}, 7, ["odd"])
    assert (report.progress.phase, report.progress.done_bytes, report.progress.total_bytes) == ("read", 60, 100)


def test_a_fault_is_reported_with_its_code_and_advice_and_a_surprise_by_its_kind(authority: Authority) -> None:
    def fail(work: Work) -> dict[str, int]:
        raise RepositoryFull("no space") if work.assignment.job == "1" else KeyError("x")

    with at_work(authority, fail) as (commserve, _):
        commserve.give("1")
        fault = commserve.hear(lambda report: report.state == Report.FAILED).fault
        commserve.give("2")
        surprise = commserve.hear(lambda report: report.state == Report.FAILED).fault
    assert (fault.code, fault.message, fault.retry) == ("media.repository_full", "no space", "later")
    assert (surprise.code, surprise.message) == ("proto.unexpected", "KeyError: 'x'")


def test_a_report_that_is_never_taken_as_it_is_ends_as_a_failure_and_frees_its_slot(authority: Authority) -> None:
    with at_work(authority, lambda _work: {"machines": 1}) as (commserve, _):
        commserve.refusal = PointMissing("not like this")
        commserve.give("1")
        failed = commserve.hear(lambda report: report.state == Report.FAILED)
        commserve.refusal = None
        commserve.give("2")
        done = commserve.hear(lambda report: report.state == Report.DONE and report.assignment == "a-2")
    assert (failed.assignment, failed.fault.code, failed.fault.message) == ("a-1", PointMissing.code, "not like this")
    assert (failed.result, done.result) == ("", '{"machines": 1}')


def test_what_is_no_text_in_a_fault_or_a_warning_is_told_all_the_same(authority: Authority) -> None:
    """It is part of a file's name, say."""

    def fail(work: Work) -> dict[str, int]:
        work.warnings.append("odd: \udcff.raw")
        raise RepositoryFull("no space for \udcff.raw")

    with at_work(authority, fail) as (commserve, _):
        commserve.give("1")
        report = commserve.hear(lambda report: report.state == Report.FAILED)
    assert (report.fault.message, report.warnings) == ("no space for ?.raw", ["odd: ?.raw"])


def test_work_that_is_cancelled_ends_and_says_so(authority: Authority) -> None:
    with at_work(authority, until_ended) as (commserve, _):
        commserve.give("1")
        commserve.hear(lambda report: report.state == Report.RUNNING)
        commserve.answer = agents_pb2.ReportReply.CANCEL
        commserve.hear(lambda report: report.state == Report.CANCELLED)


@pytest.mark.parametrize("how", ["report", "heartbeat"])
def test_work_that_is_somebody_elses_ends_without_a_word(authority: Authority, how: str) -> None:
    ends: list[BaseException] = []
    ended = threading.Event()

    def run(work: Work) -> dict[str, int]:
        try:
            if work.assignment.job == "1":
                until_ended(work)
        except LeaseLost as fault:
            ends.append(fault)
            ended.set()
            raise
        return {}

    with at_work(authority, run) as (commserve, _):
        commserve.give("1")
        commserve.hear(lambda report: report.state == Report.RUNNING)
        if how == "report":
            commserve.answer = agents_pb2.ReportReply.STALE
        else:
            commserve.stop = ["a-1"]
        assert ended.wait(20)
        commserve.answer = agents_pb2.ReportReply.GO_ON
        commserve.give("2")
        assert commserve.hear(lambda report: report.state != Report.RUNNING).assignment == "a-2"
    assert len(ends) == 1


def test_a_draining_agent_returns_what_does_not_end_in_time(authority: Authority) -> None:
    with at_work(authority, until_ended) as (commserve, loop):
        commserve.give("1")
        commserve.hear(lambda report: report.state == Report.RUNNING)
        loop.drain(0.1)
        commserve.hear(lambda report: report.state == Report.RETURNED)


def test_a_watch_takes_no_slot_and_a_draining_agent_returns_it_at_once(authority: Authority) -> None:
    with at_work(authority, lambda _work: {}) as (commserve, loop):
        commserve.give("1", kind="watch")
        commserve.hear(lambda report: report.state == Report.RUNNING)
        commserve.give("2")
        commserve.hear(lambda report: report.state == Report.DONE)
        loop.drain(300)
        assert commserve.hear(lambda report: report.state == Report.RETURNED).assignment == "a-1"


def test_a_draining_agent_lets_work_end_first(authority: Authority) -> None:
    go = threading.Event()

    def run(work: Work) -> dict[str, int]:
        assert go.wait(20)
        return {}

    with at_work(authority, run) as (commserve, loop):
        commserve.give("1")
        commserve.hear(lambda report: report.state == Report.RUNNING)
        drain = threading.Thread(target=loop.drain, args=(60,))
        drain.start()
        go.set()
        commserve.hear(lambda report: report.state == Report.DONE)
        drain.join(20)
        assert not drain.is_alive()


def test_a_draining_agent_is_not_given_again_what_it_returned(authority: Authority) -> None:
    go = threading.Event()

    def run(work: Work) -> dict[str, int]:
        assert go.wait(20)
        return {}

    with at_work(authority, run, slots=2) as (commserve, loop):
        commserve.give("1")
        commserve.give("2", kind="watch")
        commserve.hear(lambda report: report.state == Report.RUNNING and report.assignment == "a-2")
        drain = threading.Thread(target=loop.drain, args=(300,))
        drain.start()
        commserve.hear(lambda report: report.state == Report.RETURNED)
        commserve.give("2", kind="watch")  # as a CommServe would that has nobody else
        go.set()
        drain.join(20)
        assert not drain.is_alive()
        assert commserve.waiting == 1


def work_of(clock: SetClock, answer: agents_pb2.ReportReply) -> Work:
    assignment = agents_pb2.Assignment(id="a", job="1", lease_seconds=600)
    return Work(assignment, clock, lambda *_: answer)


def test_work_whose_lease_nobody_renewed_ends_by_itself_before_the_lease_does() -> None:
    clock = SetClock()
    work = work_of(clock, agents_pb2.ReportReply(answer=agents_pb2.ReportReply.GO_ON))
    clock.seconds = 479
    work.check()
    work.committing(5)  # the answer renews it
    clock.seconds = 479 + 479
    work.check()
    clock.seconds = 479 + 480
    with pytest.raises(LeaseLost):
        work.check()
    work.cancel("too late to be told")
    with pytest.raises(LeaseLost):
        work.advance(1)


def test_a_commserve_that_is_away_is_told_of_a_commit_when_it_is_back() -> None:
    silent = [PeerUnreachable("it is restarted"), PeerSlow("it begins")]

    def report(*_: object) -> agents_pb2.ReportReply:
        if silent:
            raise silent.pop()
        return agents_pb2.ReportReply(answer=agents_pb2.ReportReply.GO_ON)

    work = Work(agents_pb2.Assignment(id="a", job="1", lease_seconds=600), SetClock(), report)
    work.wait = lambda _seconds: None  # type: ignore[method-assign]
    work.committing(5)
    assert silent == []


def test_nothing_commits_when_the_lease_was_over_before_the_commserve_was_back() -> None:
    clock = SetClock()

    def report(*_: object) -> agents_pb2.ReportReply:
        clock.seconds += 100
        raise PeerUnreachable("it does not come back")

    work = Work(agents_pb2.Assignment(id="a", job="1", lease_seconds=600), clock, report)
    work.wait = lambda _seconds: None  # type: ignore[method-assign]
    with pytest.raises(LeaseLost):
        work.committing(5)
    assert clock.seconds == 500


def test_work_that_may_not_commit_is_told_before_it_does() -> None:
    for answer, fault in ((agents_pb2.ReportReply.STALE, LeaseLost), (agents_pb2.ReportReply.CANCEL, WorkCancelled)):
        with pytest.raises(fault):
            work_of(SetClock(), agents_pb2.ReportReply(answer=answer)).committing(5)
