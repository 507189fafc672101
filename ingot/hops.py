"""Every hop between services, tried from here: who does not answer, and at which step.

A hop is a name that resolves, a port that accepts, a TLS handshake in which the other side shows a certificate. What a
service says once it is reached is another matter: the agents' own hops to the CommServe show in when they were heard.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from ingot.faults import CommServeSilent
from ingot.rest import Rest
from proto.faults import RemoteFault

_SECONDS = 5.0
_SILENT = timedelta(minutes=2)
_CLOCK_SECONDS = 30  # tickets and certificates end by the clock


@dataclass(frozen=True)
class Hop:
    """One way, and what is wrong with it; None where nothing is."""

    name: str
    problem: str | None


def try_hops(rest: Rest, now: datetime) -> Iterator[Hop]:
    """From here to the CommServe and to every MediaAgent; and how long ago each agent was heard."""
    try:
        agents = list(rest.all("/agents"))
    except (CommServeSilent, RemoteFault) as fault:
        yield Hop(f"here to the CommServe at {rest.url}", str(fault))
        return
    yield Hop(f"here to the CommServe at {rest.url}", None)
    agents_address = rest.get("/authority").get("agents_address")
    if agents_address:
        host, _, port = str(agents_address).rpartition(":")
        where = (host or str(urlsplit(rest.url).hostname), int(port))
        yield Hop(f"here to the CommServe's agents' port {where[0]}:{where[1]}", _handshake(*where))
    for agent in agents:
        if agent["state"] == "revoked":
            continue
        yield _heard(agent, now)
        for address in agent["addresses"]:
            label, _, place = address.partition("=")
            host, *ports = place.rsplit(":", 2)
            for port, what in zip(ports, ("control", "data"), strict=False):
                name = f"here to {agent['name']}, {what}, by {label} {host}:{port}"
                yield Hop(name, _handshake(host, int(port)))


def _heard(agent: dict[str, Any], now: datetime) -> Hop:
    name = f"{agent['name']} to the CommServe"
    if agent["seen_at"] is None:
        return Hop(name, "it joined, and was never heard: is it running")
    ago = now - datetime.fromisoformat(agent["seen_at"]).astimezone(UTC)
    if ago > _SILENT:
        return Hop(name, f"last heard {int(ago.total_seconds())} s ago: is it running")
    ahead = (agent["clock_ahead_ms"] or 0) / 1000
    if abs(ahead) <= _CLOCK_SECONDS:
        return Hop(name, None)
    way = "ahead of" if ahead > 0 else "behind"
    return Hop(name, f"its clock is {abs(ahead):.0f} s {way} the CommServe's: does it keep time, by NTP")


def _handshake(host: str, port: int) -> str | None:
    """Why it cannot be talked to. We have no certificate of our own, so being refused for that is good enough."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # it is only looked whether a service of ours is there
    context.set_alpn_protocols(["h2"])
    try:
        with socket.create_connection((host, port), _SECONDS) as plain, context.wrap_socket(plain) as wrapped:
            return None if wrapped.getpeercert(binary_form=True) else "no certificate was shown"
    except socket.gaierror as error:
        return f"the name {host} is not known here: {error.strerror}"
    except ConnectionRefusedError:
        return "nobody listens there: is the service running"
    except TimeoutError:
        return "no answer: a firewall, or another network"
    except ssl.SSLError as error:
        return f"something else listens there: {error.reason}"
    except OSError as error:
        return str(error.strerror or error)
