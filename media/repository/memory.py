"""A repository in memory: strong, and gone with the process. For tests, and as the shortest reading of the port."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from media.faults import ObjectExists, ObjectMissing
from media.repository import Buffer, Entry
from media.repository.names import checked_name, checked_prefix


class MemoryRepository:
    """A dictionary and a lock."""

    def __init__(self) -> None:
        self._body_by_name: dict[str, bytes] = {}
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return "memory:"

    def put_new(self, name: str, body: Buffer) -> None:
        copy = bytes(body)
        with self._lock:
            if checked_name(name) in self._body_by_name:
                raise ObjectExists(f"put {name}: the name is taken")
            self._body_by_name[name] = copy

    def get(self, name: str) -> bytes:
        with self._lock:
            body = self._body_by_name.get(checked_name(name))
        if body is None:
            raise ObjectMissing(f"get {name}: no such object")
        return body

    def get_extent(self, name: str, offset: int, length: int) -> bytes:
        return self.get(name)[offset : offset + length]

    def get_tail(self, name: str, length: int) -> tuple[bytes, int]:
        body = self.get(name)
        return body[max(0, len(body) - length) :], len(body)

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        checked_prefix(prefix)
        with self._lock:
            sizes = sorted(
                (name, len(body))
                for name, body in self._body_by_name.items()
                if name.startswith(prefix) and name > after
            )
        for name, size in sizes:
            yield Entry(name, size)

    def delete(self, name: str) -> None:
        with self._lock:
            self._body_by_name.pop(checked_name(name), None)
