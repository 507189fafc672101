"""The SOAP stub to one server: its address, the newest version of the API that both sides know, the wire.

Made from `SoapStubAdapter` by hand: `SmartConnect` keeps the last connection in a global, and the stubs that log in
again by themselves repeat any call four times, creating ones too.
"""

from __future__ import annotations

import ssl
from http.client import HTTPSConnection
from typing import Any
from xml.etree import ElementTree

from pyVmomi import VmomiSupport
from pyVmomi.SoapAdapter import SoapStubAdapter

from vsa.faults import HypervisorUnreachable
from vsa.hypervisors.vcenter.translation import translating

_PORT = 443
_VERSIONS = "/sdk/vimServiceVersions.xml"
_VERSIONS_BYTES_MAX = 1 << 20
_ASK_SECONDS = 30.0
CALL_SECONDS = 300.0  # longer than any call of one answer; what takes longer is a task
_IDLE_SECONDS = 30  # a pooled connection older than that may have been closed by a proxy on the way


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host`, `host:port` or `[address]:port`."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and (not host.count(":") or host.startswith("[")):
        return host.strip("[]"), int(port)
    return address.strip("[]"), _PORT


def open_stub(address: str, context: ssl.SSLContext) -> SoapStubAdapter:
    """Nobody is logged in yet. Raises HypervisorUnreachable, CertificateRefused."""
    host, port = split_address(address)
    with translating(address):
        version = _choose(address, _ask_versions(host, port, context))
        return SoapStubAdapter(
            host=host,
            port=port,
            version=version,
            sslContext=context,
            poolSize=16,
            connectionPoolTimeout=_IDLE_SECONDS,
            httpConnectionTimeout=CALL_SECONDS,
        )


def _ask_versions(host: str, port: int, context: ssl.SSLContext) -> bytes:
    connection = HTTPSConnection(host, port, context=context, timeout=_ASK_SECONDS)
    try:
        connection.request("GET", _VERSIONS)
        reply = connection.getresponse()
        body = reply.read(_VERSIONS_BYTES_MAX)
    finally:
        connection.close()
    if reply.status != 200:
        raise HypervisorUnreachable(f"{host}:{port}: expected a vCenter or a host, found HTTP status {reply.status}")
    return body


def _choose(address: str, offered: bytes) -> Any:
    """The newest version of the API that both know."""
    try:
        root = ElementTree.fromstring(offered)
    except ElementTree.ParseError as error:
        raise HypervisorUnreachable(f"{address}: expected the versions of a vCenter, found: {error}") from error
    theirs = [
        version.text or ""
        for namespace in root.iter("namespace")
        if namespace.findtext("name") == "urn:vim25"
        for version in namespace.iter("version")
    ]
    known = [text for text in theirs if f"vim25/{text}" in VmomiSupport.versionMap]
    if not known:
        found = ", ".join(theirs[:5]) or "none"
        raise HypervisorUnreachable(f"{address}: expected a version of the vSphere API that is known, found {found}")
    return VmomiSupport.versionMap[f"vim25/{max(known, key=_number)}"]


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdecimal() else 0 for part in version.split("."))
