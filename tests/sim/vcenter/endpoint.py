"""HTTPS: /sdk and /pbm for SOAP, /folder for files of datastores, /api for REST, /sim to control the simulator."""

from __future__ import annotations

import http.server
import socketserver
import ssl
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from pyVmomi import vmodl

from tests.sim.vcenter.faults import Cut
from tests.sim.vcenter.soap import PBM, VIM, Dialect, read_request, write_answer, write_fault

if TYPE_CHECKING:
    from tests.sim.vcenter.vcenter import Vcenter

COOKIE = "vmware_soap_session"
VERSIONS = (
    b'<?xml version="1.0" encoding="UTF-8" ?>\n<namespaces version="1.0"><namespace><name>urn:vim25</name>'
    b"<version>8.0.2.0</version><priorVersions><version>8.0.1.0</version><version>8.0.0.1</version>"
    b"<version>7.0.3.2</version><version>7.0</version><version>6.7</version><version>6.5</version></priorVersions>"
    b"</namespace></namespaces>\n"
)
XML = "text/xml; charset=utf-8"


class Endpoint(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Listens on a port of the loopback; a thread a connection."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, vcenter: Vcenter, port: int, context: ssl.SSLContext) -> None:
        self.vcenter = vcenter
        self.context = context
        self._open: set[Any] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", port), Answering)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the connection's own thread: nobody waits for another's handshake."""
        try:
            secured = self.context.wrap_socket(request, server_side=True)
        except OSError:
            return
        with self._lock:
            self._open.add(secured)
        try:
            super().finish_request(secured, client_address)
        except OSError:
            return
        finally:
            with self._lock:
                self._open.discard(secured)
            secured.close()

    def cut_all(self) -> None:
        """Every connection ends, now."""
        with self._lock:
            for each in self._open:
                _shut(each)


def _shut(connection: Any) -> None:
    try:
        connection.shutdown(2)
    except OSError:
        return


class Answering(http.server.BaseHTTPRequestHandler):
    """One connection. Answers are written whole: without that each costs the 40 ms of a delayed acknowledgement."""

    server: Endpoint
    protocol_version = "HTTP/1.1"
    server_version = "envoy"
    sys_version = ""
    wbufsize = 1 << 16
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self._closing: list[Callable[[], None]] = []

    def on_close(self, do: Callable[[], None]) -> None:
        """When this connection ends."""
        self._closing.append(do)

    def finish(self) -> None:
        for do in self._closing:
            do()
        try:
            super().finish()  # which stops where the other side is gone and something is still to be written
        finally:
            self.rfile.close()

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""

    def do_GET(self) -> None:
        self._route("GET")

    def do_HEAD(self) -> None:
        self._route("HEAD")

    def do_PUT(self) -> None:
        self._route("PUT")

    def do_POST(self) -> None:
        self._route("POST")

    def do_PATCH(self) -> None:
        self._route("PATCH")

    def do_DELETE(self) -> None:
        self._route("DELETE")

    def _route(self, verb: str) -> None:
        vcenter = self.server.vcenter
        url = urlsplit(self.path)
        path = unquote(url.path)
        try:
            if path == "/sdk/vimServiceVersions.xml":
                self.answer(200, VERSIONS, XML)
            elif path.startswith("/sdk") and verb == "POST":
                self._soap(vcenter, VIM)
            elif path in ("/pbm", "/pbm/sdk") and verb == "POST" and vcenter.policies.answers:
                self._soap(vcenter, PBM)
            else:
                for start, room in vcenter.rooms.items():
                    if path.startswith(start):
                        room.answer(self, verb, path, parse_qs(url.query, keep_blank_values=True))
                        return
                self.answer(404, b"", "text/plain")
        except Cut:
            self.close_connection = True
            _shut(self.connection)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def cookie(self) -> str:
        """The key of the session, empty where there is none."""
        for part in (self.headers.get("Cookie") or "").split(";"):
            name, _, value = part.strip().partition("=")
            if name == COOKIE:
                return value.strip('"')
        return ""

    def answer(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.begin(status, len(body), kind, headers or {})
        if self.command != "HEAD":
            self.wfile.write(body)

    def begin(self, status: int, length: int, kind: str, headers: dict[str, str]) -> None:
        """The head of an answer; as many bytes follow."""
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _soap(self, vcenter: Vcenter, dialect: Dialect) -> None:
        data = self.body()
        headers = {}
        try:
            request = read_request(data, dialect)
            key = self.cookie() if dialect is VIM else request.session
            find = vcenter.find if dialect is VIM else vcenter.policies.find
            value, session = vcenter.call(request, key, self.headers.get("User-Agent") or "", find)
            if session and session != key:
                headers["Set-Cookie"] = f'{COOKIE}="{session}"; Path=/; HttpOnly; Secure;'
            body, status = write_answer(request.method, request.info, value, dialect), 200
        except vmodl.MethodFault as fault:
            body, status = self._written(vcenter, fault, dialect), 500
        except Cut:
            raise
        except Exception as error:  # noqa: BLE001  (a vCenter does so with what it cannot read)
            vcenter.unexpected.append(error)
            body, status = write_fault(vmodl.RuntimeFault(msg=repr(error)), dialect), 500
        self.answer(status, body, XML, headers)

    def _written(self, vcenter: Vcenter, fault: vmodl.MethodFault, dialect: Dialect) -> bytes:
        """A fault; another one where a test planned one that lacks what its type needs."""
        try:
            return write_fault(fault, dialect)
        except TypeError as error:
            vcenter.unexpected.append(error)
            return write_fault(vmodl.RuntimeFault(msg=f"{type(fault).__name__}: {error}"), dialect)
