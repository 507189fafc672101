"""Channels and servers with the limits that all of ours have, and mutual TLS.

A certificate names its holder twice: a URI that says who it is, `ingot://agent/<role>/<id>`, and a DNS name that stands
for it in TLS whatever its address, `<id>.<role>.ingot`. So an agent may have several addresses and change them.
Whoever connects checks the name of whom it means; only servers' certificates may serve.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc

from proto.faults import FaultsOnTheWire, PeerRefused
from proto.shares import Shares
from runtime.certificates import Identity
from runtime.faults import Fault

COMMSERVE_URI = "ingot://commserve"
COMMSERVE_NAME = "commserve.ingot"
MESSAGE_BYTES_MAX = 8 << 20
BULK_BYTES = 512 << 10  # of a raw message in a stream of bytes

# gRPC asks for the certificate of a connection that is just accepted also after its server is gone, through a pointer
# that nothing keeps valid: what it asks lives as long as the process.
_ASKED: list[grpc.ServerCredentials] = []

_AGENT = re.compile(r"ingot://agent/(vsa|mediaagent)/([0-9a-f-]{1,64})")
_KEEPALIVE_MS = 30_000
_LEAST_PING_MS = 10_000  # what a server bears on a quiet stream before it says GOAWAY
_COMMON: tuple[tuple[str, Any], ...] = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_retries", 0),  # who calls decides what may be repeated
)


class AddressUnavailable(Fault):
    """The address cannot be listened at."""

    code = "proto.address_unavailable"


@dataclass(frozen=True)
class Caller:
    """An agent, as its certificate names it."""

    role: str  # vsa | mediaagent
    id: str

    @property
    def uri(self) -> str:
        return f"ingot://agent/{self.role}/{self.id}"

    @property
    def tls_name(self) -> str:
        return f"{self.id}.{self.role}.ingot"

    @staticmethod
    def of(uri: str) -> Caller | None:
        """None where the URI names no agent."""
        found = _AGENT.fullmatch(uri)
        return None if found is None else Caller(found[1], found[2])


def caller_of(context: grpc.ServicerContext) -> Caller:
    """Who calls. Raises PeerRefused for a certificate that names no agent."""
    found: Any = context.auth_context().get("x509_subject_alternative_name", ())
    names = [name.decode(errors="replace") for name in found]
    callers = [caller for name in names if (caller := Caller.of(name)) is not None]
    if len(callers) != 1:
        raise PeerRefused(f"expected the certificate of an agent, found one that names {', '.join(names) or 'nobody'}")
    return callers[0]


def open_channel(address: str, identity: Identity, tls_name: str, *, alone: bool = False) -> grpc.Channel:
    """A channel to whom `tls_name` stands for, at `host:port`; connects when it is used.

    Channels to one address share a connection, except one that is `alone`: parallel streams want one each.
    """
    credentials = grpc.ssl_channel_credentials(identity.authority, identity.key, identity.chain)
    options = [*_COMMON, ("grpc.ssl_target_name_override", tls_name)]
    if alone:
        options.append(("grpc.use_local_subchannel_pool", 1))
    return grpc.secure_channel(address, credentials, options)


class Server:
    """A gRPC server for agents: mutual TLS, faults translated, a bounded number of calls at once, and of one agent."""

    def __init__(self, identity: Identity, address: str, threads: int, handlers: Sequence[Any]) -> None:
        """`handlers` are called with the gRPC server, to add themselves. Raises AddressUnavailable."""
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="call")
        options = [
            *_COMMON,
            ("grpc.so_reuseport", 0),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", _LEAST_PING_MS),
            ("grpc.http2.min_ping_interval_without_data_ms", _LEAST_PING_MS),
        ]
        self._identity = self._shown = identity
        self._server = grpc.server(
            self._pool,
            interceptors=[FaultsOnTheWire(), Shares(max(1, (threads - 1) * 3 // 4))],
            options=options,
            maximum_concurrent_rpcs=max(1, threads - 1),  # so that one is free to refuse
        )
        for add in handlers:
            add(self._server)
        credentials = grpc.dynamic_ssl_server_credentials(
            _configuration(identity), self._changed, require_client_authentication=True
        )
        _ASKED.append(credentials)
        try:
            self.port = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise AddressUnavailable(f"{address}: cannot be listened at: {error}") from error
        self._server.start()

    def _changed(self) -> Any:  # what the stubs do not know: None, where nothing changed
        """Asked for each connection. Nothing new where it can be, because gRPC swaps under connections that begin."""
        if self._identity is self._shown:
            return None
        self._shown = self._identity
        return _configuration(self._shown)

    def use(self, identity: Identity) -> None:
        """The certificate for connections from now on."""
        self._identity = identity

    def stop(self, grace_seconds: float) -> None:
        """Take no new calls, and give running ones so long."""
        self._server.stop(grace_seconds).wait()
        self._pool.shutdown(wait=False, cancel_futures=True)


def _configuration(identity: Identity) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(identity.key, identity.chain)], identity.authority)
