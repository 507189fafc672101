"""Who may do what here: a certificate says who, a ticket what, and the deny-list who no more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from mediaagent.faults import DenyListOld, RequestRefused
from proto import tickets
from proto.channels import Caller, caller_of
from proto.faults import PeerRefused
from proto.tickets import Ticket, TicketRefused
from runtime.clock import Clock

DENY_LIST_SECONDS = 900.0


class Denied(Protocol):
    """Agents whose certificates count no more, and when the CommServe was last heard, in monotonic seconds."""

    @property
    def agents(self) -> frozenset[str]: ...

    @property
    def heard_at(self) -> float: ...


class Trust(Protocol):
    """What the CommServe says: the key that signs tickets (SubjectPublicKeyInfo), and the deny-list."""

    @property
    def ticket_key(self) -> bytes: ...

    @property
    def denied(self) -> Denied: ...


@dataclass(frozen=True)
class Grant:
    """A caller and its ticket, which covered what was asked when it was asked."""

    caller: Caller
    ticket: Ticket

    @property
    def about(self) -> dict[str, str]:
        """For the log."""
        return {"job": self.ticket.job, "trace": self.ticket.trace}

    def require_machine(self, machine_id: str) -> None:
        """Raises TicketRefused when the ticket is about another machine."""
        if self.ticket.machine != machine_id:
            raise TicketRefused(
                f"job {self.ticket.job}: the ticket is for machine {self.ticket.machine}, not for {machine_id}"
            )

    def require_point(self, point: str, machine_id: str) -> None:
        """Raises TicketRefused when the ticket does not cover a recovery point of that machine."""
        self.require_machine(machine_id)
        if self.ticket.points and point not in self.ticket.points:
            raise TicketRefused(f"job {self.ticket.job}: the ticket does not cover recovery point {point}")


class Access:
    """Safe to use from several threads. `now` is the Unix time, by which tickets end."""

    def __init__(self, trust: Trust, clock: Clock, now: Callable[[], float]) -> None:
        self._trust = trust
        self._clock = clock
        self._now = now

    def caller(self, context: grpc.ServicerContext) -> Caller:
        """Who calls. Raises PeerRefused for a certificate that counts no more."""
        caller = caller_of(context)
        if caller.id in self._trust.denied.agents:
            raise PeerRefused(f"{caller.uri}: its certificate was revoked")
        return caller

    def grant(self, context: grpc.ServicerContext, operation: str, pool: str) -> Grant:
        """What the ticket that was shown allows. Raises PeerRefused, TicketRefused, DenyListOld."""
        caller = self.caller(context)
        silent = self._clock.monotonic_seconds() - self._trust.denied.heard_at
        if silent > DENY_LIST_SECONDS:
            raise DenyListOld(f"the CommServe was not heard for {int(min(silent, 10**9))} s: nothing new is begun")
        text = metadata(context, tickets.METADATA)
        ticket = tickets.verify(text, self._trust.ticket_key)
        ticket.require(caller, operation, pool, self._now())
        return Grant(caller, ticket)


def metadata(context: grpc.ServicerContext, name: str) -> str:
    """A value that comes with a call. Raises RequestRefused."""
    items: Any = context.invocation_metadata()
    values = [value for key, value in items if key == name]
    if len(values) != 1 or not isinstance(values[0], str):
        raise RequestRefused(f"expected one {name} with the call, found {len(values)}")
    return values[0]


def number(context: grpc.ServicerContext, name: str) -> int:
    """A number that comes with a call. Raises RequestRefused."""
    text = metadata(context, name)
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise RequestRefused(f"expected a number as {name}, found {text[:40]!r}")
    return int(text)
