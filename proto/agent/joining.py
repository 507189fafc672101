"""Joining: an agent with a token becomes one with a certificate.

The token ends in the fingerprint of the authority's key, so the agent knows whom it joins before it trusts anything
that the network says: the authority's certificate is fetched unverified and checked against it, and all else goes over
TLS that this authority verifies.
"""

from __future__ import annotations

import ipaddress
import json
import re
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509

from proto.channels import Caller
from runtime.certificates import (
    Identity,
    fingerprint,
    key_pem,
    load_identity,
    new_key,
    save_identity,
    signing_request,
    write_private,
)
from runtime.faults import Fault, Retry, UsageFault

_TOKEN = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([0-9a-f]{64})")
_ANSWER_BYTES_MAX = 1 << 20
_SECONDS = 30
_MEMBERSHIP = "agent.json"


class JoinRefused(Fault):
    """The CommServe does not let this agent join: a token that is used, over, or for another role."""

    code = "proto.join_refused"


class CommServeForeign(Fault):
    """What answers is not the CommServe that gave the token."""

    code = "proto.commserve_foreign"


class CommServeUnreachable(Fault):
    """The CommServe does not answer."""

    code = "proto.commserve_unreachable"
    retry = Retry.LATER


class TokenMalformed(UsageFault):
    """A text is no join token."""

    code = "proto.token_malformed"


class NotJoined(UsageFault):
    """This agent has not joined a CommServe."""

    code = "proto.not_joined"


@dataclass(frozen=True)
class Membership:
    """Which agent we are, and whom we report to."""

    agent: Caller
    commserve: str  # host:port of its service for agents
    ticket_key: bytes  # SubjectPublicKeyInfo


def join(url: str, token: str, role: str, name: str, addresses: list[str], directory: Path) -> Membership:
    """Get a certificate for `role`; `directory` is this agent's from now on.

    `url` is the CommServe's `https://host:port`; plain http only on loopback. Raises TokenMalformed, JoinRefused,
    CommServeForeign, CommServeUnreachable.
    """
    found = _TOKEN.fullmatch(token.strip())
    if found is None:
        raise TokenMalformed("expected a join token, ID.SECRET.FINGERPRINT, found something else")
    token_id, secret, expected = found.groups()
    _check_url(url)
    authority = _authority(url, expected)
    context = ssl.create_default_context(cadata=authority.decode())
    key = new_key()
    from_us = {
        "token": f"{token_id}.{secret}",
        "role": role,
        "name": name,
        "addresses": addresses,
        "csr": signing_request(key, name).decode(),
    }
    answer = _ask(f"{url}/api/v1/agents/join", context, from_us)
    agent = Caller(role, str(answer["agent"]))
    identity = Identity(key_pem(key), str(answer["chain"]).encode(), authority)
    host, _, port = str(answer["agents_address"]).rpartition(":")
    commserve = f"{host or urlsplit(url).hostname}:{port}"
    membership = Membership(agent, commserve, bytes.fromhex(str(answer["ticket_key"])))
    save_identity(directory, identity)
    members = {"role": role, "id": agent.id, "commserve": commserve, "ticket_key": membership.ticket_key.hex()}
    write_private(directory / _MEMBERSHIP, json.dumps(members, indent=1, sort_keys=True).encode())
    return membership


def load_membership(directory: Path) -> tuple[Membership, Identity]:
    """What `join` left. Raises NotJoined, IdentityUnfit."""
    path = directory / _MEMBERSHIP
    try:
        members = json.loads(path.read_text())
        agent = Caller(members["role"], members["id"])
        membership = Membership(agent, members["commserve"], bytes.fromhex(members["ticket_key"]))
    except FileNotFoundError:
        raise NotJoined(f"{directory}: not joined to a CommServe; `ingot agent join` does it") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotJoined(f"{path}: expected what joining left, found something else: {error!r}") from error
    return membership, load_identity(directory)


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https":
        return
    try:
        loopback = parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        loopback = False
    if parts.scheme != "http" or not loopback:
        raise TokenMalformed(f"{url}: expected https://host:port; http is for loopback only")


def _authority(url: str, expected: str) -> bytes:
    """The authority's certificate, checked against the token."""
    unverified = ssl.create_default_context()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE  # what comes is checked against the token, next
    answer = _ask(f"{url}/api/v1/authority", unverified, None)
    try:
        pem = str(answer["certificate"]).encode()
        found = fingerprint(x509.load_pem_x509_certificate(pem))
    except (ValueError, KeyError) as error:
        raise CommServeForeign(f"{url}: expected a certificate, found something else: {error}") from error
    if found != expected:
        raise CommServeForeign(f"{url}: the token names the authority {expected[:16]}..., {found[:16]}... answers")
    return pem


def _ask(url: str, context: ssl.SSLContext, body: dict[str, Any] | None) -> dict[str, Any]:
    """The JSON object that answers a GET, or a POST of `body`."""
    raw = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, raw, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS, context=context) as reply:
            answer = json.loads(reply.read(_ANSWER_BYTES_MAX))
    except urllib.error.HTTPError as error:
        with error:
            raise JoinRefused(f"{url}: {error.code}: {_detail(error.read(_ANSWER_BYTES_MAX))}") from error
    except (urllib.error.URLError, OSError) as error:
        raise CommServeUnreachable(f"{url}: {getattr(error, 'reason', error)}") from error
    except ValueError as error:
        raise CommServeForeign(f"{url}: expected a JSON object, found something else") from error
    if not isinstance(answer, dict):
        raise CommServeForeign(f"{url}: expected a JSON object, found something else")
    return answer


def _detail(raw: bytes) -> str:
    """What a problem+json says."""
    try:
        return str(json.loads(raw)["detail"])
    except (ValueError, KeyError, TypeError):
        return "no reason given"
