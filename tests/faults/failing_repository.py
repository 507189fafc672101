"""A repository that fails at its n-th call: before doing it, or when it is done and only the reply is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from media.faults import RepositoryFault
from media.repository import Buffer, Entry, Repository
from tests.media.fakes import Around

T = TypeVar("T")


class FailingRepository(Around):
    """Around another; the same port. From the n-th call on `times` calls fail with `fault`; n = 0 never comes.

    `failed` names the first call that did: `put sess/0000000002`.
    """

    def __init__(
        self, inner: Repository, n: int, fault: type[RepositoryFault], *, after: bool = False, times: int = 1
    ) -> None:
        super().__init__(inner)
        self.failed = ""
        self._first = n
        self._last = n + times - 1
        self._fault = fault
        self._after = after
        self._calls = 0
        self._lock = threading.Lock()

    def put_new(self, name: str, body: Buffer) -> None:
        self._call(f"put {name}", lambda: self.inner.put_new(name, body))

    def get(self, name: str) -> bytes:
        return self._call(f"get {name}", lambda: self.inner.get(name))

    def get_extent(self, name: str, offset: int, length: int) -> bytes:
        return self._call(f"get {name}", lambda: self.inner.get_extent(name, offset, length))

    def get_tail(self, name: str, length: int) -> tuple[bytes, int]:
        return self._call(f"get {name}", lambda: self.inner.get_tail(name, length))

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        """Fails after its first entry, if it has one: a listing is read in pieces."""
        listing = self.inner.list(prefix, after)
        failing = self._is_next(f"list {prefix}")
        for entry in listing:
            yield entry
            if failing:
                break
        if failing:
            raise self._fault(f"list {prefix}: a fake that fails")

    def delete(self, name: str) -> None:
        self._call(f"delete {name}", lambda: self.inner.delete(name))

    def _call(self, what: str, do: Callable[[], T]) -> T:
        failing = self._is_next(what)
        if failing and not self._after:
            raise self._fault(f"{what}: a fake that fails")
        answer = do()
        if failing:
            raise self._fault(f"{what}: a fake whose reply is lost")
        return answer

    def _is_next(self, what: str) -> bool:
        with self._lock:
            self._calls += 1
            failing = self._first <= self._calls <= self._last
            self.failed = self.failed or (what if failing else "")
            return failing
