"""A repository that sends and receives no faster than it may: the same port around another."""

from __future__ import annotations

from collections.abc import Iterator

from media.repository import Buffer, Entry, Repository
from runtime.pacing import Pace


class Paced:
    """Around `inner`. Bytes in both directions count; small talk, as names and listings, does not."""

    def __init__(self, inner: Repository, pace: Pace) -> None:
        self._inner = inner
        self._pace = pace

    @property
    def url(self) -> str:
        return self._inner.url

    def put_new(self, name: str, body: Buffer) -> None:
        self._pace.spend(len(body))
        self._inner.put_new(name, body)

    def get(self, name: str) -> bytes:
        """The size is known when it came: the next one waits for it."""
        self._pace.spend(0)
        body = self._inner.get(name)
        self._pace.owe(len(body))
        return body

    def get_extent(self, name: str, offset: int, length: int) -> bytes:
        self._pace.spend(0)
        part = self._inner.get_extent(name, offset, length)
        self._pace.owe(len(part))
        return part

    def get_tail(self, name: str, length: int) -> tuple[bytes, int]:
        self._pace.spend(0)
        tail, size = self._inner.get_tail(name, length)
        self._pace.owe(len(tail))
        return tail, size

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        return self._inner.list(prefix, after)

    def delete(self, name: str) -> None:
        self._inner.delete(name)
