"""Where a server listens: a Unix socket that only its owner may use, or a TCP port."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from vsa.faults import NbdAddressUnusable
from vsa.nbd.numbers import DEFAULT_PORT

LOOPBACK = "127.0.0.1"
_PATH_MAX_BYTES = 107  # what fits into a Unix socket's address, on Linux


class UnixAddress(NamedTuple):
    """A socket in the file system."""

    path: Path

    def url(self, export: str) -> str:
        """How clients name an export here."""
        return f"nbd+unix:///{quote(export, safe='')}?socket={quote(str(self.path))}"

    def __str__(self) -> str:
        return str(self.path)


class TcpAddress(NamedTuple):
    """A port of this machine."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host in (LOOPBACK, "::1", "localhost")

    def url(self, export: str) -> str:
        """How clients name an export here."""
        return f"nbd://{self}/{quote(export, safe='')}"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


Address = UnixAddress | TcpAddress


def parse_address(text: str) -> TcpAddress:
    """`HOST:PORT`, `[HOST]:PORT` for IPv6, or `PORT` on loopback. Raises NbdAddressUnusable."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not port.isascii() or not port.isdigit() or int(port) > 65535 or (":" in host and not text.startswith("[")):
        raise NbdAddressUnusable(f"{text}: expected HOST:PORT, [HOST]:PORT or PORT, as 127.0.0.1:{DEFAULT_PORT}")
    return TcpAddress(host or LOOPBACK, int(port))


def listen(address: Address) -> tuple[socket.socket, Address]:
    """A listening socket, and where it listens in truth: port 0 becomes one that is free. Raises NbdAddressUnusable."""
    try:
        if isinstance(address, UnixAddress):
            return _listen_on_path(address.path), address
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        listener = socket.create_server(tuple(address), family=family)
        return listener, TcpAddress(address.host, listener.getsockname()[1])
    except OSError as error:
        raise NbdAddressUnusable(f"{address}: cannot listen here: {error.strerror or error}") from error


def _listen_on_path(path: Path) -> socket.socket:
    if len(os.fsencode(path)) > _PATH_MAX_BYTES:
        raise NbdAddressUnusable(f"{path}: expected a path of {_PATH_MAX_BYTES} bytes at most for a socket")
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)  # from its first instant on it is its owner's
    try:
        _remove_dead(path)
        listener.bind(str(path))
        listener.listen()
    except BaseException:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener


def _remove_dead(path: Path) -> None:
    """Make room where a server died: a socket that nobody listens on. Anything else is somebody's."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
