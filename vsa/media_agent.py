"""The line to a MediaAgent: its control and data channels, deadlines, and calls made again where that is safe."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from typing import Any, TypeVar

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from proto import tickets
from proto.backup_pb2_grpc import BackupsStub
from proto.channels import Caller, open_channel
from proto.data_plane import DataStub
from proto.faults import PeerBusy, PeerSlow, PeerUnreachable, calling, code_of
from proto.restore_pb2_grpc import RestoresStub
from runtime.certificates import Identity
from runtime.clock import Clock
from runtime.faults import Fault

T = TypeVar("T")

CONTROL_SECONDS = 60.0
COMMIT_SECONDS = 600.0
DATA_SECONDS = 300.0  # of one call: a container, a batch of leaves
DATA_CONNECTIONS = 2  # TLS of one connection is one core's work, and so is its flow control
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
PASSING = (PeerUnreachable, PeerSlow, PeerBusy)
_STREAM_BROKEN = "mediaagent.stream_broken"

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Address:
    """Where a MediaAgent listens."""

    host: str
    control_port: int
    data_port: int


class Patience:
    """Makes a call again while the peer cannot be reached, is slow or busy; not for longer than `seconds`.

    `pause(seconds)` waits, and raises when nobody wants to go on.
    """

    def __init__(self, clock: Clock, pause: Callable[[float], None], seconds: float = 120.0) -> None:
        self._clock = clock
        self._pause = pause
        self._seconds = seconds

    def call(self, step: Callable[[], T]) -> T:
        """What `step` returns. It may be run several times: what it asks for must bear that."""
        pause = _FIRST_PAUSE_SECONDS
        failed_at: float | None = None
        while True:
            begun_at = self._clock.monotonic_seconds()
            try:
                return step()
            except Fault as fault:
                if not isinstance(fault, PASSING) and code_of(fault) != _STREAM_BROKEN:
                    raise
                failed_at = begun_at if failed_at is None else failed_at
                if self._clock.monotonic_seconds() + pause - failed_at > self._seconds:
                    raise
            self._pause(pause * random.uniform(0.5, 1.0))  # not all of a site's agents at once
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


class MediaAgentLine:
    """One assignment's line. Safe to use from several threads."""

    def __init__(
        self, agent: Caller, address: Address, identity: Identity, ticket: Callable[[], str], patience: Patience
    ) -> None:
        """`ticket` is asked for with each call that shows one: long work outlives the ticket that it began with."""
        self.patience = patience
        self.peer = f"MediaAgent at {address.host}"
        self._ticket = ticket
        control, data = f"{address.host}:{address.control_port}", f"{address.host}:{address.data_port}"
        self._control = open_channel(control, identity, agent.tls_name)
        self._data = [open_channel(data, identity, agent.tls_name, alone=True) for _ in range(DATA_CONNECTIONS)]
        for channel in self._data:  # connected while the first control call is: handshakes are three ways and back
            _health_check(channel).future(HealthCheckRequest(), timeout=CONTROL_SECONDS)
        self.backups = BackupsStub(self._control)
        self.restores = RestoresStub(self._control)
        self._stubs = cycle([DataStub(channel) for channel in self._data])

    @property
    def ticket(self) -> Metadata:
        """The newest, as it goes with a call."""
        return ((tickets.METADATA, self._ticket()),)

    @property
    def data(self) -> DataStub:
        """One of the connections for data, each in turn."""
        return next(self._stubs)

    def again(self, step: Callable[[], T]) -> T:
        """As `Patience.call`; what gRPC raises becomes faults."""

        def once() -> T:
            with calling(self.peer):
                return step()

        return self.patience.call(once)

    def answers(self, seconds: float) -> None:
        """Whether it serves, asked once. Raises what a call does."""
        with calling(self.peer):
            reply = _health_check(self._control)(HealthCheckRequest(), timeout=seconds)
        if reply.status != HealthCheckResponse.SERVING:
            raise PeerBusy(f"{self.peer}: it takes no new work")

    def close(self) -> None:
        """Running calls end with PeerUnreachable."""
        for channel in (self._control, *self._data):
            channel.close()


def _health_check(channel: grpc.Channel) -> Any:
    """The call that asks a server whether it serves; the generated stub says nothing of its types."""
    return channel.unary_unary(
        "/grpc.health.v1.Health/Check", HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString
    )
