"""What every agent is besides its work: a member of a CommServe, with a certificate that is renewed in time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType

from cryptography.hazmat.primitives.asymmetric import ec
from prometheus_client import CollectorRegistry

from proto import agents_pb2
from proto.agent.joining import load_membership
from proto.agent.line import Line
from proto.agent.loop import Handler, Loop
from proto.agent.metrics import AgentMetrics
from proto.sealing import unseal
from runtime.certificates import Identity, load_key, public_der, save_identity, signing_request
from runtime.clock import Clock
from runtime.faults import Fault
from runtime.logs import log
from runtime.version import VERSION

_LOOK_SECONDS = 3600.0


class Agent:
    """Use as a context: leaving it closes the line. `start` begins work, `drain` ends it."""

    def __init__(self, directory: Path, clock: Clock, renewed: Callable[[Identity], None] | None = None) -> None:
        """`directory` is what `join` was given. `renewed` hears of a new certificate, for servers that show it.

        Raises NotJoined, IdentityUnfit.
        """
        self.membership, self.identity = load_membership(directory)
        self.line = Line(self.membership.commserve, self.identity)
        self._directory = directory
        self._clock = clock
        self._renewed = renewed
        self._stop = threading.Event()
        self.loop: Loop | None = None

    @property
    def key(self) -> ec.EllipticCurvePrivateKey:
        """What secrets are sealed to, and what the certificate is of."""
        return load_key(self.identity.key)

    def unseal(self, sealed: bytes, owner: str) -> bytes:
        """A secret that was sealed to us. Raises SealBroken."""
        return unseal(sealed, self.key, owner, self.membership.agent.uri)

    def start(
        self,
        about_us: Callable[[], agents_pb2.RegisterRequest],
        handlers: Mapping[str, Handler],
        slots: int,
        registry: CollectorRegistry,
    ) -> Loop:
        """Register, and run what is leased; the loop, which knows how that goes."""

        def complete() -> agents_pb2.RegisterRequest:
            request = about_us()
            request.version = VERSION
            request.sealing_key = public_der(self.key.public_key())
            return request

        self.loop = Loop(self.line, complete, handlers, slots, self._clock, AgentMetrics(registry))
        self.loop.start()
        threading.Thread(target=self._keep_renewed, name="renew", daemon=True).start()
        return self.loop

    def register_again(self) -> None:
        """What was registered has changed."""
        if self.loop is not None:
            self.loop.register_again()

    def drain(self, grace_seconds: float) -> None:
        """Let work end; return what does not end in time."""
        self._stop.set()
        if self.loop is not None:
            self.loop.drain(grace_seconds)

    def renew_if_due(self) -> bool:
        """Get a new certificate when two thirds of this one's life are over; whether it was so.

        The key stays: secrets are sealed to it. Raises what the line does; the old certificate is kept then.
        """
        if not self.identity.renewal_due(datetime.fromisoformat(self._clock.now())):
            return False
        reply = self.line.renew(signing_request(self.key, self.membership.agent.tls_name))
        identity = replace(self.identity, chain=reply.certificate, authority=reply.authority)
        save_identity(self._directory, identity)
        self.identity = identity
        self.line.use(identity)
        if self._renewed is not None:
            self._renewed(identity)
        log().info("certificate renewed", until=identity.certificate.not_valid_after_utc.isoformat())
        return True

    def _keep_renewed(self) -> None:
        while not self._stop.is_set():
            try:
                self.renew_if_due()
            except Fault as fault:
                log().warning("certificate not renewed", code=fault.code, message=str(fault))
            self._stop.wait(_LOOK_SECONDS)

    def __enter__(self) -> Agent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self.line.close()
