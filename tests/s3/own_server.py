"""An S3 server of our own: small, checks signatures and checksums, and behaves as badly as a test asks.

    server.misbehave("lose the reply", operation="put")      the next put is done, and its reply never comes

What it can do stands in `Misbehaviour`; a test says how often and with which operation.
"""

from __future__ import annotations

import hashlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import Literal

from tests.s3.buckets import Service
from tests.s3.objects import Bucket

ACCESS_KEY, SECRET_KEY = "OWNSERVER", "the/secret+of+our+server"

Operation = Literal["put", "get", "list", "delete", "look", "any"]
Misbehaviour = Literal[
    "throttle",  # 503 SlowDown; nothing was done
    "fail",  # 500 InternalError; nothing was done
    "conflict",  # 409, as AWS does for two conditional puts of one name at once
    "reset",  # the connection is reset before anything was done
    "lose the reply",  # it is done, and the connection closes without an answer
    "cut",  # half of the answer's body, then the connection closes
    "be late",  # no answer until `let_go`
    "lie",  # says that it was done, and did nothing
    "list backwards",
    "list nothing, and more to come",
    "garble",  # an answer that is no XML
    "send everything",  # of a range
    "deny",  # 403 AccessDenied
    "expire",  # 400 ExpiredToken
    "be of another time",  # 403 RequestTimeTooSkewed
    "be full",  # 403 QuotaExceeded
    "be elsewhere",  # 301 PermanentRedirect
    "be frozen",  # 403 InvalidObjectState, as an object in Glacier
]


class OwnServer(ThreadingHTTPServer):
    """Listens on a free port of the loopback from the moment it is made; `running` answers."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        from tests.s3.own_answers import Answer

        super().__init__(("127.0.0.1", 0), Answer)
        self.buckets: dict[str, Bucket] = {}
        self.secret_by_access_key = {ACCESS_KEY: SECRET_KEY}
        self.accepts_token: Callable[[str | None], bool] = lambda token: token is None
        self.page_size = 1000
        self.seen: list[tuple[str, str]] = []  # operation and key of each request whose signature was good
        self.headers_by_key: dict[str, dict[str, str]] = {}  # of the last request for it
        self.late = threading.Event()
        self._plans: list[tuple[Misbehaviour, Operation, int, int]] = []
        self._lock = threading.Lock()

    @property
    def service(self) -> Service:
        return Service(f"http://127.0.0.1:{self.server_port}", ACCESS_KEY, SECRET_KEY)

    @property
    def only_bucket(self) -> str:
        """The name of the one that there is."""
        (name,) = self.buckets
        return name

    def misbehave(self, how: Misbehaviour, operation: Operation = "any", *, after: int = 0, times: int = 1) -> None:
        """From the request after the next `after` ones of this operation on, `times` times."""
        with self._lock:
            self._plans.append((how, operation, after, times))

    def behave(self) -> None:
        """Forget what was planned."""
        with self._lock:
            self._plans.clear()

    def let_go(self) -> None:
        """End the wait of all answers that are late."""
        self.late.set()

    def plan_for(self, operation: str, key: str) -> Misbehaviour | None:
        """What shall happen to this request."""
        with self._lock:
            self.seen.append((operation, key))
            for at, (how, wanted, after, times) in enumerate(self._plans):
                if wanted not in ("any", operation):
                    continue
                if after:
                    self._plans[at] = (how, wanted, after - 1, times)
                    return None
                self._plans[at] = (how, wanted, 0, times - 1)
                if times == 1:
                    del self._plans[at]
                return how
            return None

    def count(self, operation: str) -> int:
        """How many requests of this kind there were."""
        return sum(1 for seen, _ in self.seen if seen == operation)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle is what tests are about."""


@contextmanager
def running() -> Iterator[OwnServer]:
    """A server that answers inside the block."""
    with OwnServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.let_go()
        server.shutdown()
        thread.join()


def reset(connection: socket.socket) -> None:
    """Close with RST: what was sent may be thrown away on the other side."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def sha256_of(body: bytes) -> str:
    """As a signature has it."""
    return hashlib.sha256(body).hexdigest()
