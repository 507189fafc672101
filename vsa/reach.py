"""Which MediaAgent to go to: the first one named that answers, by the first of its addresses that leads there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from proto import agents_pb2
from proto.agent.work import Work
from proto.channels import Caller
from runtime.certificates import Identity
from runtime.clock import Clock
from runtime.faults import Fault
from vsa.faults import MediaAgentUnreachable
from vsa.media_agent import Address, MediaAgentLine, Patience

_ANSWER_SECONDS = 5.0


@contextmanager
def reached(
    work: Work, media_agents: Sequence[agents_pb2.MediaAgent], identity: Identity, clock: Clock
) -> Iterator[MediaAgentLine]:
    """A line to one of them; it waits and tries again for as long as the work may go on.

    Raises MediaAgentUnreachable.
    """
    line = _first(work, media_agents, identity, clock)
    try:
        yield line
    finally:
        line.close()


def _first(
    work: Work, media_agents: Sequence[agents_pb2.MediaAgent], identity: Identity, clock: Clock
) -> MediaAgentLine:
    tried = []
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
                tried.append(str(fault))
            else:
                return line
    raise MediaAgentUnreachable(f"job {work.assignment.job}: no MediaAgent answers: {'; '.join(tried) or 'none named'}")


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
