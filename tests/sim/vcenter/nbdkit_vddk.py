"""The dummy nbdkit: the command line of `nbdkit vddk`, the disks of a simulated vCenter, one Unix socket.

It logs in like the library does, checks the thumbprint like it does, and says no where it would: wrong password, wrong
file, wrong snapshot, more than 2 MiB in a request, less than sectors.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import signal
import socket
import ssl
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from tests.sim.vcenter.nbd_disk import LayeredDisk
from tests.sim.vcenter.nbd_serving import serve_client

_FLAGS = {"-r", "--readonly", "-f", "--foreground", "--exit-with-parent", "-v", "--verbose", "-n", "--newstyle"}
_VALUES = {
    "-U": "unix",
    "--unix": "unix",
    "-P": "pidfile",
    "--pidfile": "pidfile",
    "-t": "threads",
    "--threads": "threads",
    "-e": "exportname",
    "--exportname": "exportname",
    "--filter": "filter",
    "--log": "log",
    "--mask-handshake": "mask",
}
_PARAMETERS = {
    "compression",
    "config",
    "cookie",
    "file",
    "libdir",
    "nfchostport",
    "password",
    "port",
    "server",
    "single-link",
    "snapshot",
    "thumbprint",
    "transports",
    "unbuffered",
    "user",
    "vimapiver",
    "vm",
    # of filters that are put before it
    "cache",
    "maxdata",
    "maxlen",
    "blocksize-policy",
    "retries",
}
_PR_SET_PDEATHSIG = 1
_LOGIN = (
    '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/">'
    '<soapenv:Body><Login xmlns="urn:vim25"><_this type="SessionManager">SessionManager</_this>'
    "<userName>{user}</userName><password>{password}</password></Login></soapenv:Body></soapenv:Envelope>"
)


class Wrong(Exception):
    """nbdkit would end here, with this on standard error."""


@dataclass
class Asked:
    """The command line."""

    flags: set[str]
    options: dict[str, str]
    parameters: dict[str, str]

    @property
    def readonly(self) -> bool:
        return bool(self.flags & {"-r", "--readonly"})


def parse(arguments: list[str]) -> Asked:
    """Raises Wrong."""
    asked = Asked(set(), {}, {})
    plugin = ""
    left = list(arguments)
    while left:
        each = left.pop(0)
        name, equals, value = each.partition("=")
        if each in _FLAGS:
            asked.flags.add(each)
        elif name in _VALUES:
            if not equals:
                if not left:
                    raise Wrong(f"option requires an argument: {name}")
                value = left.pop(0)
            asked.options[_VALUES[name]] = value
        elif each.startswith("-"):
            raise Wrong(f"unrecognized option '{each}'")
        elif not plugin:
            plugin = Path(each).name
        elif equals and name in _PARAMETERS:
            asked.parameters[name] = value
        else:
            raise Wrong(f"vddk: unknown parameter '{name}'")
    _check(asked, plugin)
    return asked


def _check(asked: Asked, plugin: str) -> None:
    if plugin not in ("vddk", "nbdkit-vddk-plugin.so"):
        raise Wrong(f"cannot open plugin '{plugin}'")
    for needed in ("file", "server", "user", "password", "vm", "thumbprint"):
        if needed not in asked.parameters:
            raise Wrong(f"vddk: remote connection requested, but parameter '{needed}' is missing")
    if "unix" not in asked.options:
        raise Wrong("expected --unix with a socket: nothing else is served here")
    if not asked.parameters["vm"].startswith("moref="):
        raise Wrong("vddk: expected vm=moref=...")


def password_of(said: str) -> str:
    """`-FD`, `+FILE`, or itself."""
    if said.startswith("-") and said[1:].isdigit():
        if int(said[1:]) <= 2:
            raise Wrong("cannot use password -FD for stdin, stdout or stderr")
        with os.fdopen(int(said[1:]), "rb") as file:
            return file.read().decode().rstrip("\n")
    if said.startswith("+"):
        return Path(said[1:]).read_text().rstrip("\n")
    return said


class Library:
    """One login, one open disk."""

    def __init__(self, asked: Asked, password: str) -> None:
        parameters = asked.parameters
        server, _, port = parameters["server"].partition(":")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the thumbprint is what counts
        self._connection = http.client.HTTPSConnection(
            server, int(port or parameters.get("port", 443)), context=context
        )
        self._lock = threading.Lock()
        try:
            self._connection.connect()
        except OSError as error:
            raise Wrong(f"VixDiskLib_ConnectEx: Could not connect to {server}: {error}") from error
        found = hashlib.sha1(self._connection.sock.getpeercert(binary_form=True) or b"").digest().hex(":")
        if found.lower() != parameters["thumbprint"].lower():
            raise Wrong("VixDiskLib_ConnectEx: SSL Exception: the remote host's certificate has another thumbprint")
        body = _LOGIN.format(user=escape(parameters["user"]), password=escape(password))
        status, headers, _ = self._ask("/sdk", body.encode(), {"Content-Type": "text/xml"})
        if status != 200:
            raise Wrong("VixDiskLib_ConnectEx: Cannot connect to host: incorrect user name or password")
        self._cookie = headers.get("Set-Cookie", "").partition(";")[0]
        self.opened = self._json(
            "/sim/nbd/open",
            {
                "vm": parameters["vm"].removeprefix("moref="),
                "snapshot": parameters.get("snapshot"),
                "file": parameters["file"],
                "writes": not asked.readonly,
            },
        )

    def note_written(self, ranges: list[tuple[int, int]]) -> None:
        """Tell the simulator what is new."""
        if ranges:
            self._json("/sim/nbd/written", {"number": self.opened["number"], "ranges": ranges})

    def _json(self, path: str, document: dict[str, Any]) -> Any:
        headers = {"Content-Type": "application/json", "Cookie": self._cookie}
        status, _, body = self._ask(path, json.dumps(document).encode(), headers)
        answer = json.loads(body)
        if status != 200:
            raise Wrong(f"VixDiskLib_Open: {document.get('file', '')}: {answer['error']}")
        return answer

    def _ask(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any, bytes]:
        with self._lock:
            self._connection.request("POST", path, body, headers)
            response = self._connection.getresponse()
            return response.status, response.headers, response.read()


def serve(asked: Asked, library: Library) -> None:
    """Until a signal ends it."""
    disk = LayeredDisk(library.opened, library.note_written, writes=not asked.readonly)
    path = Path(asked.options["unix"])
    with socket.socket(socket.AF_UNIX) as listener:
        early = path.with_name(f"{path.name}~")
        listener.bind(str(early))
        listener.listen()
        early.rename(path)  # whoever sees it is answered
        if "pidfile" in asked.options:
            Path(asked.options["pidfile"]).write_text(f"{os.getpid()}\n")
        try:
            while True:
                client, _ = listener.accept()
                threading.Thread(target=_served, args=(client, disk), daemon=True).start()
        finally:
            path.unlink(missing_ok=True)


def _served(client: socket.socket, disk: LayeredDisk) -> None:
    with client, contextlib.suppress(OSError, EOFError):
        try:
            serve_client(client, disk)
        finally:
            disk.flush()


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        asked = parse(sys.argv[1:])
        if "--exit-with-parent" in asked.flags:
            _end_with_parent()  # before the library, which takes its time: the real one does it as early
        library = Library(asked, password_of(asked.parameters["password"]))
    except Wrong as wrong:
        print(f"nbdkit: error: {wrong}", file=sys.stderr)
        return 1
    with contextlib.suppress(KeyboardInterrupt):
        serve(asked, library)
    return 0


def _end_with_parent() -> None:
    """The kernel tells of an end that is yet to come, so one that came before is looked for."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(os.environ["STARTED_BY"]):
        sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
