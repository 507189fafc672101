"""How an agent holds machines of one vCenter, from its settings.

nbd     {"vddk": directory of VDDK}, with the nbdkit that the agent finds, or {"url": template of an NBD URL}
limits  {"machines", "machines_per_host", "machines_per_datastore", "disks_per_host", "disks": counts, 0 is no limit;
         "begin_free_bytes", "abort_free_bytes": of a datastore}
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from vsa.faults import HypervisorUnknown, HypervisorUnreachable
from vsa.hypervisors.vcenter.connection import Connection
from vsa.hypervisors.vcenter.description import describe
from vsa.hypervisors.vcenter.guards import Floors
from vsa.hypervisors.vcenter.holding import Ways
from vsa.hypervisors.vcenter.limits import Limits, Most
from vsa.hypervisors.vcenter.settings import Settings
from vsa.hypervisors.vcenter.transport import Transport
from vsa.hypervisors.vcenter.transport.nbdkit import NbdkitTransport, Vddk
from vsa.hypervisors.vcenter.transport.url import UrlTransport
from vsa.hypervisors.vcenter.trust import Trust

_NBD = {"vddk", "url"}
_PROGRAM = "nbdkit"
_HTTPS = 443
_CONNECT_SECONDS = 30.0


def ways_of(settings: Settings, connection: Connection, password: str, limits: Limits) -> Ways:
    """`limits` are shared by all jobs of the agent there. Raises HypervisorUnknown, HypervisorUnreachable."""
    transports = transports_of(settings, connection, password)
    return Ways(connection, transports, limits, floors_of(settings.limits), describe)


def most_of(limits: Mapping[str, Any]) -> Most:
    """Raises HypervisorUnknown."""
    usual = Most()
    return Most(
        _count(limits, "machines", usual.per_vcenter),
        _count(limits, "machines_per_host", usual.per_host),
        _count(limits, "machines_per_datastore", usual.per_datastore),
        _count(limits, "disks_per_host", usual.disks_per_host),
        _count(limits, "disks", usual.disks),
    )


def floors_of(limits: Mapping[str, Any]) -> Floors:
    """Raises HypervisorUnknown."""
    usual = Floors()
    return Floors(
        _count(limits, "begin_free_bytes", usual.begin_bytes), _count(limits, "abort_free_bytes", usual.abort_bytes)
    )


def _count(limits: Mapping[str, Any], name: str, usual: int) -> int:
    value = limits.get(name, usual)
    if type(value) is not int or value < 0:
        raise HypervisorUnknown(f"limits: {name}: expected a count, found {value!r:.60}")
    return value


def transports_of(settings: Settings, connection: Connection, password: str) -> Sequence[Transport]:
    """None where nothing is said. Raises HypervisorUnknown, HypervisorUnreachable."""
    nbd = settings.nbd
    unknown = sorted(set(nbd) - _NBD)
    if unknown:
        raise HypervisorUnknown(f"nbd: expected {', '.join(sorted(_NBD))}, found {unknown[0]}")
    if "url" in nbd:
        return [UrlTransport(nbd["url"], connection.clock)]
    if "vddk" not in nbd:
        return []
    host, port = _split(settings.address)
    vddk = Vddk(
        program=_PROGRAM,
        directory=nbd["vddk"],
        server=host,
        port=port,
        user=settings.user,
        password=password,
        thumbprint=thumbprint(host, port, settings.trust),
    )
    return [NbdkitTransport(vddk, connection.clock)]


def thumbprint(host: str, port: int, trust: Trust) -> str:
    """SHA-1 of the certificate that the vCenter shows, once it was checked as every connection of ours is."""
    try:
        with (
            socket.create_connection((host, port), _CONNECT_SECONDS) as plain,
            trust.context().wrap_socket(plain, server_hostname=host) as secure,
        ):
            return hashlib.sha1(secure.getpeercert(binary_form=True) or b"", usedforsecurity=False).digest().hex(":")
    except OSError as error:
        raise HypervisorUnreachable(f"{host}:{port}: {error}") from error


def _split(address: str) -> tuple[str, int]:
    """`host`, `host:port`, `[v6]:port`."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit() and (host.endswith("]") or ":" not in host):
        return host.strip("[]"), int(port)
    return address.strip("[]"), _HTTPS
