"""The bytes of an NBD connection, plain or in TLS: all or a fault, and never a wait without end.

One thread may send while another receives; two that send, or two that receive, must agree between them.
The kernel waits, for the whole of what is wanted and never longer than the socket's time limits: a quarter of the CPU
seconds of a client that polls and takes what is there.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from typing import Protocol, cast

from runtime.clock import Clock
from vsa.faults import NbdLost, NbdTlsFailed, NbdUnreachable
from vsa.nbd.url import NbdUrl

_TLS_PIECE_BYTES = 256 << 10

Bytes = bytes | bytearray | memoryview


class Stream(Protocol):
    """What a connection is to whoever speaks the protocol."""

    def receive_into(self, buffer: memoryview) -> None:
        """Fill `buffer`. Raises NbdLost when the stream ends before, or nothing comes for too long."""

    def send(self, *parts: Bytes) -> None:
        """Send all of it. Raises NbdLost."""

    def close(self) -> None:
        """May be called twice."""


def receive(stream: Stream, length: int) -> bytes:
    """The next `length` bytes."""
    buffer = bytearray(length)
    stream.receive_into(memoryview(buffer))
    return bytes(buffer)


def dial(url: NbdUrl, timeout_seconds: float, clock: Clock) -> PlainStream:
    """Connect. Raises NbdUnreachable."""
    try:
        if url.socket is None:
            connected = socket.create_connection((url.host, url.port), timeout_seconds)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            connected = socket.socket(socket.AF_UNIX)
            try:
                connected.settimeout(timeout_seconds)
                connected.connect(str(url.socket))
            except BaseException:
                connected.close()
                raise
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise NbdUnreachable(f"{url}: {reason}") from error
    return PlainStream(connected, str(url), timeout_seconds, clock)


class PlainStream:
    """A socket. Takes it over."""

    def __init__(self, connected: socket.socket, name: str, timeout_seconds: float, clock: Clock) -> None:
        """`timeout_seconds` is how long one call may take."""
        connected.settimeout(None)
        limit = struct.pack("@ll", int(timeout_seconds), int(timeout_seconds % 1 * 1e6))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            connected.setsockopt(socket.SOL_SOCKET, option, limit)
        self._socket = connected
        self.name = name
        self._timeout_seconds = timeout_seconds
        self._clock = clock

    def deadline(self) -> float:
        """The moment when a call that begins now must be done."""
        return self._clock.monotonic_seconds() + self._timeout_seconds

    def receive_into(self, buffer: memoryview) -> None:
        left, deadline = buffer, self.deadline()
        while left:
            left = left[self.receive_some(left, deadline, socket.MSG_WAITALL) :]

    def receive_some(self, buffer: memoryview, deadline: float, flags: int = 0) -> int:
        """At least one byte."""
        while True:
            try:
                count = self._socket.recv_into(buffer, 0, flags)
            except BlockingIOError:
                self._expect_time(deadline, "nothing came")
                continue
            except OSError as error:
                raise NbdLost(f"{self.name}: {error.strerror}") from error
            if count == 0:
                raise NbdLost(f"{self.name}: expected {len(buffer)} more bytes, found the end of the connection")
            return count

    def send(self, *parts: Bytes) -> None:
        deadline = self.deadline()
        for part in parts:
            left = memoryview(part)
            while left:
                try:
                    left = left[self._socket.send(left) :]
                except BlockingIOError:
                    self._expect_time(deadline, "nothing was taken")
                except OSError as error:
                    raise NbdLost(f"{self.name}: {error.strerror}") from error

    def close(self) -> None:
        self._socket.close()

    def _expect_time(self, deadline: float, what: str) -> None:
        if self._clock.monotonic_seconds() >= deadline:
            raise NbdLost(f"{self.name}: {what} for {self._timeout_seconds:g} seconds")


def client_context(url: NbdUrl) -> ssl.SSLContext:
    """Whom we trust and who we are. Raises NbdTlsFailed when the files do not say."""
    directory = url.certificates
    try:
        context = ssl.create_default_context(cafile=None if directory is None else str(directory / "ca-cert.pem"))
        if directory is not None and (directory / "client-cert.pem").exists():
            # a key under a password is refused: nobody is there to ask
            context.load_cert_chain(directory / "client-cert.pem", directory / "client-key.pem", password=lambda: "")
    except (OSError, ValueError) as error:
        raise NbdTlsFailed(f"{url}: certificates in {directory or 'the system'}: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    return context


class TlsStream:
    """TLS inside of a plain stream.

    OpenSSL's object is not for two threads at once, so it only ever works on memory, under a lock, and the socket is
    waited for without it.
    """

    def __init__(self, plain: PlainStream, context: ssl.SSLContext, hostname: str) -> None:
        """Shake hands. Raises NbdTlsFailed, NbdLost."""
        self._plain = plain
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=hostname)
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._raw = memoryview(bytearray(_TLS_PIECE_BYTES))
        deadline = plain.deadline()
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                self._fill(deadline)
            except ssl.SSLError as error:
                self._flush()  # the alert that tells the server why
                raise self._failed(error) from error
        self._flush()

    def receive_into(self, buffer: memoryview) -> None:
        left, deadline = buffer, self._plain.deadline()
        while left:
            with self._lock:
                try:
                    count = cast(int | None, self._tls.read(len(left), left))  # into a buffer: how many bytes
                except ssl.SSLWantReadError:
                    count = None
                except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                    count = 0
                except ssl.SSLError as error:
                    raise self._failed(error) from error
            if count is None:
                self._flush()  # TLS may have to say something before it hears more
                self._fill(deadline)
            elif count == 0:
                raise NbdLost(f"{self._plain.name}: expected {len(left)} more bytes, found the end of TLS")
            else:
                left = left[count:]

    def send(self, *parts: Bytes) -> None:
        for part in parts:
            view = memoryview(part)
            for position in range(0, len(view), _TLS_PIECE_BYTES):
                piece = view[position : position + _TLS_PIECE_BYTES]
                with self._sending:
                    with self._lock:
                        try:
                            self._tls.write(piece)
                        except ssl.SSLError as error:
                            raise self._failed(error) from error
                        sealed = self._outgoing.read()
                    self._plain.send(sealed)

    def close(self) -> None:
        self._plain.close()

    def _flush(self) -> None:
        with self._sending:
            with self._lock:
                sealed = self._outgoing.read()
            self._plain.send(sealed)

    def _fill(self, deadline: float) -> None:
        count = self._plain.receive_some(self._raw, deadline)
        with self._lock:
            self._incoming.write(self._raw[:count])

    def _failed(self, error: ssl.SSLError) -> NbdTlsFailed:
        reason = getattr(error, "verify_message", None) or error.reason or error
        return NbdTlsFailed(f"{self._plain.name}: {reason}")
