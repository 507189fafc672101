"""A repository that counts what is asked of it: the same port around another.

What a service bills is requests and, where they leave its region, bytes; this tells both for one job, and what the
requests cost at the list prices below. What lies there afterwards is billed by the month, and is not in it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from media.repository import Buffer, Entry, Repository

NAMES_A_PAGE = 1000  # of a listing: each page is a request
USD_PER_REQUEST = {  # Amazon S3 Standard, us-east-1; other classes and regions differ, docs/cli.md says more
    "put": 0.005 / 1000,
    "list": 0.005 / 1000,
    "get": 0.0004 / 1000,
    "delete": 0.0,
}


@dataclass
class Counts:
    """Of one job, over all its threads."""

    requests: dict[str, int] = field(default_factory=lambda: dict.fromkeys(USD_PER_REQUEST, 0))
    sent_bytes: int = 0
    received_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def asked(self, request: str, sent_bytes: int = 0) -> None:
        """A request went out."""
        with self._lock:
            self.requests[request] += 1
            self.sent_bytes += sent_bytes

    def received(self, body: bytes) -> bytes:
        """An answer came, which is given back."""
        with self._lock:
            self.received_bytes += len(body)
        return body

    @property
    def usd(self) -> float:
        """What the requests cost, transfer not counted."""
        return sum(USD_PER_REQUEST[request] * count for request, count in self.requests.items())


class Counted:
    """Around `inner`; closest to the place, so that what is asked again is counted again."""

    def __init__(self, inner: Repository, counts: Counts) -> None:
        self._inner = inner
        self._counts = counts

    @property
    def url(self) -> str:
        return self._inner.url

    def put_new(self, name: str, body: Buffer) -> None:
        self._counts.asked("put", len(body))
        self._inner.put_new(name, body)

    def get(self, name: str) -> bytes:
        self._counts.asked("get")
        return self._counts.received(self._inner.get(name))

    def get_extent(self, name: str, offset: int, length: int) -> bytes:
        self._counts.asked("get")
        return self._counts.received(self._inner.get_extent(name, offset, length))

    def get_tail(self, name: str, length: int) -> tuple[bytes, int]:
        self._counts.asked("get")
        tail, size = self._inner.get_tail(name, length)
        return self._counts.received(tail), size

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        self._counts.asked("list")
        for number, entry in enumerate(self._inner.list(prefix, after)):
            if number and number % NAMES_A_PAGE == 0:
                self._counts.asked("list")
            yield entry

    def delete(self, name: str) -> None:
        self._counts.asked("delete")
        self._inner.delete(name)
