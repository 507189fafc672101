"""A TCP proxy that cuts every connection at a byte of a test's choice."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

_PIECE = 16 << 10


class Cutting:
    """Forwards to `port` on loopback; when `after` bytes have passed, both ways together, everything breaks once."""

    def __init__(self, port: int, after: int | None = None) -> None:
        self._to = port
        self._after = after
        self.passed = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, count: int) -> None:
        """Break everything when so many more bytes have passed."""
        with self._lock:
            self._after = self.passed + count

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._to))
                except OSError:
                    near.close()
                    continue
                with self._lock:
                    self._open |= {near, far}
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._forward, args=(one, other), daemon=True).start()

    def _forward(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while piece := one.recv(_PIECE):
                allowed = self._allowed(len(piece))
                other.sendall(piece[:allowed])
                if allowed < len(piece):
                    self._cut()
                    break
        self._end(one, other)

    def _allowed(self, length: int) -> int:
        with self._lock:
            allowed = length
            if self._after is not None and self.passed + length > self._after:
                allowed, self._after = max(0, self._after - self.passed), None
            self.passed += allowed
            return allowed

    def _cut(self) -> None:
        with self._lock:
            cut, self._open = self._open, set()
        for each in cut:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _end(self, *ended: socket.socket) -> None:
        for each in ended:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
            with self._lock:
                self._open.discard(each)

    def close(self) -> None:
        """Break what is open and take no more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._cut()
