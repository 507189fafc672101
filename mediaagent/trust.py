"""What the CommServe said last, as the servers ask for it."""

from __future__ import annotations

from proto.agent.agent import Agent
from proto.agent.loop import Denied


class HeardTrust:
    """The ticket key that joining left until the CommServe named another; nobody was heard before the loop runs."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._nothing = Denied()

    @property
    def ticket_key(self) -> bytes:
        loop = self._agent.loop
        return (loop.ticket_key if loop is not None else b"") or self._agent.membership.ticket_key

    @property
    def denied(self) -> Denied:
        loop = self._agent.loop
        return self._nothing if loop is None else loop.denied
