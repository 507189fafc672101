"""Tickets: what an agent may ask of a MediaAgent, signed by the CommServe and verified without asking it.

`base64url(canonical JSON) . base64url(ECDSA-P-256-SHA-256 signature over the first part)`. A ticket counts only
together with the certificate of the agent that it names, so whoever copies one cannot use it.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from proto.channels import Caller
from runtime.faults import Fault

METADATA = "ingot-ticket"
_CHARS_MAX = 64 << 10


class TicketRefused(Fault):
    """A ticket is forged, over, another agent's, or does not cover what was asked."""

    code = "proto.ticket_refused"


@dataclass(frozen=True)
class Ticket:
    """`machine` is empty where the work is about none; `points` empty means all of the machine's."""

    agent: str  # the caller's URI
    job: str
    fence: int  # grows with every lease of the job: the newest counts
    machine: str
    pool: str
    operations: tuple[str, ...]  # backup, restore, ... : kinds of assignments
    points: tuple[str, ...]
    expires_at: int  # Unix seconds
    trace: str = ""  # for logs

    def require(self, caller: Caller, operation: str, pool: str, now: float) -> None:
        """Raises TicketRefused unless `caller` may do `operation` in `pool` at Unix time `now`."""
        if self.agent != caller.uri:
            raise TicketRefused(f"job {self.job}: the ticket is for {self.agent}, {caller.uri} showed it")
        if now >= self.expires_at:
            raise TicketRefused(f"job {self.job}: the ticket ended {int(now - self.expires_at)} s ago")
        if operation not in self.operations or self.pool != pool:
            may = f"{', '.join(self.operations)} in pool {self.pool}"
            raise TicketRefused(f"job {self.job}: the ticket is for {may}, not for {operation} in pool {pool}")


def sign(ticket: Ticket, key: ec.EllipticCurvePrivateKey) -> str:
    """The text of a ticket."""
    body = _encode(json.dumps(dataclasses.asdict(ticket), sort_keys=True, separators=(",", ":")).encode())
    return f"{body}.{_encode(key.sign(body.encode(), ec.ECDSA(hashes.SHA256())))}"


def verify(text: str, public_key: bytes) -> Ticket:
    """The ticket that `text` is; `public_key` as SubjectPublicKeyInfo. Raises TicketRefused."""
    if len(text) > _CHARS_MAX:
        raise TicketRefused(f"a ticket of {len(text)} characters; {_CHARS_MAX} are the most")
    body, _, signature = text.partition(".")
    key = serialization.load_der_public_key(public_key)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TicketRefused(f"expected an elliptic-curve ticket key, found {type(key).__name__}")
    try:
        key.verify(_decode(signature), body.encode(), ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, binascii.Error, ValueError) as error:
        raise TicketRefused("the ticket is not signed by this CommServe") from error
    members = json.loads(_decode(body))
    members["operations"], members["points"] = tuple(members["operations"]), tuple(members["points"])
    return Ticket(**members)


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
