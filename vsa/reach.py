"""Which MediaAgent to go to: the first one named that answers, by the first of its addresses that leads there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from proto import agents_pb2
from proto.agent.work import Work
from proto.channels import Caller
from proto.faults import PeerUnreachable
from runtime.certificates import Identity
from runtime.clock import Clock
from runtime.faults import Fault
from vsa.faults import MediaAgentUnreachable
from vsa.media_agent import PASSING, Address, MediaAgentLine, Patience

_ANSWER_SECONDS = 5.0


@contextmanager
def reached(
    work: Work, media_agents: Sequence[agents_pb2.MediaAgent], identity: Identity, clock: Clock
) -> Iterator[MediaAgentLine]:
    """A line to one of them. Where none answers all are asked again for two minutes: a machine is restarted in less.

    Raises MediaAgentUnreachable.
    """
    try:
        line = Patience(clock, _pausing(work)).call(lambda: _first(work, media_agents, identity, clock))
    except PASSING as fault:
        raise MediaAgentUnreachable(str(fault)) from fault
    try:
        yield line
    finally:
        line.close()


def _first(
    work: Work, media_agents: Sequence[agents_pb2.MediaAgent], identity: Identity, clock: Clock
) -> MediaAgentLine:
    """Raises MediaAgentUnreachable, or PeerUnreachable where one of them may answer later."""
    tried = list[Fault]()
    for agent in media_agents:
        for text in agent.addresses:
            work.check()
            address = address_of(text)
            patience = Patience(clock, _pausing(work))
            line = MediaAgentLine(Caller("mediaagent", agent.id), address, identity, lambda: work.ticket, patience)
            try:
                line.answers(_ANSWER_SECONDS)
            except Fault as fault:
                line.close()
                tried.append(fault)
            else:
                return line
    why = "; ".join(map(str, tried)) or "none named"
    kind = PeerUnreachable if any(isinstance(fault, PASSING) for fault in tried) else MediaAgentUnreachable
    raise kind(f"job {work.assignment.job}: no MediaAgent answers: {why}")


def address_of(text: str) -> Address:
    """`label=host:control_port:data_port`, as a MediaAgent registered it. Raises MediaAgentUnreachable."""
    host, control, data = text.partition("=")[2].rsplit(":", 2) if text.count(":") >= 2 else ("", "", "")
    if not host or not control.isdecimal() or not data.isdecimal():
        raise MediaAgentUnreachable(f"expected label=host:control_port:data_port, found {text!r}")
    return Address(host, int(control), int(data))


def _pausing(work: Work) -> Callable[[float], None]:
    """Waits between tries, and ends when the work must."""

    def pause(seconds: float) -> None:
        work.wait(seconds)
        work.check()

    return pause
