"""URLs of NBD exports.

    nbd://host[:port]/export                    nbd+unix:///export?socket=/path
    nbds://host[:port]/export                   nbds+unix:///export?socket=/path        with TLS

With TLS, `tls-certificates=DIR` names a directory that holds `ca-cert.pem` (else the system's authorities are trusted)
and, for a server that asks who we are, `client-cert.pem` and `client-key.pem`; `tls-hostname=NAME` is the name that the
server's certificate must have where it is not the host's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from vsa.faults import NbdUrlWrong
from vsa.nbd.numbers import DEFAULT_PORT, STRING_MAX_BYTES

SCHEMES = ("nbd", "nbds", "nbd+unix", "nbds+unix")
_TLS_MEMBERS = ("tls-certificates", "tls-hostname")


@dataclass(frozen=True)
class NbdUrl:
    """Where an export is. Either `socket` or `host` says where its server listens."""

    text: str
    export: str
    host: str
    port: int
    socket: Path | None
    tls: bool
    certificates: Path | None
    tls_hostname: str

    def __str__(self) -> str:
        return self.text


def is_nbd_url(text: str) -> bool:
    """Whether `text` means an NBD export, right or wrong."""
    scheme, colon, _ = text.partition("://")
    return bool(colon) and scheme.lower() in SCHEMES


def parse_nbd_url(text: str) -> NbdUrl:
    """Raises NbdUrlWrong."""
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname or ""
        members = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        export = unquote(parts.path.removeprefix("/"), errors="strict")
    except ValueError as error:
        raise NbdUrlWrong(f"{text}: {error}") from error
    scheme = parts.scheme.lower()
    if scheme not in SCHEMES or not text[len(scheme) :].startswith("://"):
        raise NbdUrlWrong(f"{text}: expected one of {', '.join(f'{name}://' for name in SCHEMES)}")
    unix, tls = scheme.endswith("+unix"), scheme.startswith("nbds")
    if parts.username is not None or parts.password is not None:
        raise NbdUrlWrong(f"{scheme}://...: expected no user and no password; TLS tells a server who asks")
    if parts.fragment:
        raise NbdUrlWrong(f"{text}: expected nothing after #; in the name of an export it is %23")
    if len(export.encode()) > STRING_MAX_BYTES:
        raise NbdUrlWrong(f"{text[:60]}...: expected an export's name of {STRING_MAX_BYTES} bytes at most")
    known = (("socket",) if unix else ()) + (_TLS_MEMBERS if tls else ())
    for name, value in members:
        if name not in known:
            allowed = f"one of {', '.join(known)}" if known else "nothing"
            raise NbdUrlWrong(f"{text}: expected {allowed} after ?, found {name}")
        if not value:
            raise NbdUrlWrong(f"{text}: expected a value of {name}, found none")
    by_name = dict(members)
    if len(by_name) != len(members):
        raise NbdUrlWrong(f"{text}: expected each member after ? once")
    if unix and (parts.netloc or "socket" not in by_name):
        raise NbdUrlWrong(f"{text}: expected {scheme}:///export?socket=/path")
    if not unix and not host:
        raise NbdUrlWrong(f"{text}: expected {scheme}://host/export, found no host")
    certificates, socket = by_name.get("tls-certificates"), by_name.get("socket")
    return NbdUrl(
        text=text,
        export=export,
        host=host,
        port=DEFAULT_PORT if port is None else port,
        socket=None if socket is None else Path(socket),
        tls=tls,
        certificates=None if certificates is None else Path(certificates),
        tls_hostname=by_name.get("tls-hostname", host or "localhost"),
    )
