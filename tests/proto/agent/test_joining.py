"""Joining: whom to believe before anybody is known."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from proto.agent.joining import (
    CommServeForeign,
    CommServeUnreachable,
    JoinRefused,
    NotJoined,
    TokenMalformed,
    join,
    load_membership,
)
from runtime.certificates import fingerprint, load_key, new_key, public_der
from tests.proto.authority import Authority

TICKET_KEY = public_der(new_key().public_key())


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@contextmanager
def commserve(authority: Authority, refuse: str = "") -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A REST side of two routes; the requests to join that it saw."""
    asked: list[dict[str, Any]] = []

    class Routes(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(200, {"certificate": authority.pem.decode()})

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(request)
            if refuse:
                self.answer(403, {"detail": refuse})
                return
            csr = x509.load_pem_x509_csr(request["csr"].encode())
            assert csr.is_signature_valid
            key = csr.public_key().public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            issued = authority.issue("ingot://agent/vsa/0f0e", "0f0e.vsa.ingot", serves=False, public_key=key)
            self.answer(
                200,
                {
                    "agent": "0f0e",
                    "chain": issued.chain.decode(),
                    "agents_address": ":8401",
                    "ticket_key": TICKET_KEY.hex(),
                },
            )

        def answer(self, status: int, body: dict[str, Any]) -> None:
            raw = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Routes) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def token(authority: Authority) -> str:
    return f"id.secret.{fingerprint(x509.load_pem_x509_certificate(authority.pem))}"


def test_an_agent_that_joined_is_one_after_a_restart_too(tmp_path: Path, authority: Authority) -> None:
    with commserve(authority) as (url, asked):
        membership = join(url, token(authority), "vsa", "rack-1", [], tmp_path)
    assert membership.commserve == "127.0.0.1:8401"
    loaded, identity = load_membership(tmp_path)
    assert loaded == membership
    assert identity.uri == membership.agent.uri
    assert identity.certificate.public_key() == load_key(identity.key).public_key()
    assert {name: asked[0][name] for name in ("token", "role", "name")} == {
        "token": "id.secret",
        "role": "vsa",
        "name": "rack-1",
    }


def test_another_authority_than_the_tokens_is_not_told_the_secret(tmp_path: Path, authority: Authority) -> None:
    with commserve(authority) as (url, asked), pytest.raises(CommServeForeign, match="the token names"):
        join(url, token(Authority()), "vsa", "rack-1", [], tmp_path)
    assert asked == []
    with pytest.raises(NotJoined):
        load_membership(tmp_path)


def test_why_a_token_is_refused_is_told(tmp_path: Path, authority: Authority) -> None:
    with commserve(authority, "the token was used") as (url, _), pytest.raises(JoinRefused, match="403: the token was"):
        join(url, token(authority), "vsa", "rack-1", [], tmp_path)


@pytest.mark.parametrize("text", ["", "id.secret", "id.secret.xyz", "a b.c." + "0" * 64])
def test_what_is_no_token_is_refused_before_anybody_is_asked(tmp_path: Path, text: str) -> None:
    with pytest.raises(TokenMalformed) as caught:
        join("https://127.0.0.1:1", text, "vsa", "rack-1", [], tmp_path)
    assert not text or text not in str(caught.value)  # it may hold a secret


@pytest.mark.parametrize("url", ["http://backup.example:8400", "ftp://127.0.0.1", "backup"])
def test_plain_http_is_for_loopback(tmp_path: Path, authority: Authority, url: str) -> None:
    with pytest.raises(TokenMalformed, match="https"):
        join(url, token(authority), "vsa", "rack-1", [], tmp_path)


def test_a_commserve_that_is_not_there_is_unreachable(tmp_path: Path, authority: Authority) -> None:
    with pytest.raises(CommServeUnreachable):
        join("http://127.0.0.1:1", token(authority), "vsa", "rack-1", [], tmp_path)
