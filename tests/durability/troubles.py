"""What can go wrong with one call of a repository, and a repository where it does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple, Protocol, TypeVar

from media.faults import RepositoryFault, RepositoryUnreachable
from media.ids import MAX_SEQ, cid_of_name
from media.repository import Buffer, Entry, Repository
from media.session import PAGES_SEQ
from tests.media.fakes import Around

T = TypeVar("T")


_MEANINGS = {
    "list everything": "is the place empty: list",
    "get `ingot.json`": "parameters: get `ingot.json`",
    "list `keys/`": "key slots: list `keys/`",
    "get `keys/`": "a key slot: get `keys/`",
    "put `keys/`": "new key slot: put `keys/`",
    "delete `keys/`": "key slot: delete `keys/`",
    "put `RESTORE/recover.py`": "recovery program: put `RESTORE/recover.py`",
    "put `RESTORE/format.md`": "its description: put `RESTORE/format.md`",
    "put `ingot.json`": "parameters: put `ingot.json`",
    "list `rpx/`": "expired points: list `rpx/`",
    "list `rp/`": "registers: list `rp/`",
    "get `rp/`": "a register: get `rp/`",
    "list `rpm/`": "marks: list `rpm/`",
    "get `rpm/`": "a mark: get `rpm/`",
    "get `sess/`": "is the index of this repository: get `sess/`",
    "list `c/`": "containers: list `c/`",
    "list `sess/`": "the next session number: list `sess/`",
    "put `sess/`": "claim of the session: put `sess/`",
    "list `condemn/`": "has something been collected: list `condemn/`",
    "get part of `rpx/`": "has the parent expired: get `rpx/`",
    "get `rpd/`": "detail of a point: get `rpd/`",
    "get footer of `c/ (pages)`": "footer of pages: get the end of `c/`",
    "get part of `c/ (pages)`": "a page: get a part of `c/`",
    "get footer of `c/ (chunks)`": "footer of chunks: get the end of `c/`",
    "get part of `c/ (chunks)`": "records of chunks: get a part of `c/`",
    "put `sess/ (heartbeat)`": "heartbeat: put `sess/`",
    "put `c/ (chunks)`": "container of chunks: put `c/`",
    "put `c/ (pages)`": "container of pages: put `c/`",
    "put `rpd/`": "detail of the point: put `rpd/`",
    "put `rp/`": "**the register**: put `rp/`",
    "put `rpm/`": "mark: put `rpm/`",
}
"""In the order of the tables: that of a run, as far as it has one with several threads."""


class Call(NamedTuple):
    """A kind of call: what is done with which kind of object."""

    verb: str
    kind: str

    @staticmethod
    def of(verb: str, name: str) -> Call:
        return Call(verb, _kind_of(name))

    def __str__(self) -> str:
        return _MEANINGS[self._plain]

    @property
    def order(self) -> int:
        return list(_MEANINGS).index(self._plain)

    @property
    def _plain(self) -> str:
        return f"{self.verb} `{self.kind}`" if self.kind else f"{self.verb} everything"


def _kind_of(name: str) -> str:
    head, slash, rest = name.partition("/")
    cid = cid_of_name(name)
    if cid is not None:
        return "c/ (pages)" if cid & MAX_SEQ >= PAGES_SEQ else "c/ (chunks)"
    if head == "sess" and "." in rest:
        return "sess/ (heartbeat)"
    return head + slash if head != "RESTORE" else name


class Killed(BaseException):
    """The process ends here. Whatever it calls while it unwinds is not done."""


class Trouble(Protocol):
    """Does the call or not, returns or raises."""

    def __call__(self, name: str, do: Callable[[], T], /) -> T: ...


def fails(name: str, do: Callable[[], T]) -> T:
    raise RepositoryUnreachable(f"{name}: a place that does not answer")


def loses_reply(name: str, do: Callable[[], T]) -> T:
    with suppress(RepositoryFault):  # what it said is lost as well
        do()
    raise RepositoryUnreachable(f"{name}: a reply that was lost")


def dies_before(name: str, do: Callable[[], T]) -> T:
    raise Killed


def dies_after(name: str, do: Callable[[], T]) -> T:
    with suppress(RepositoryFault):
        do()
    raise Killed


class Troubled(Around):
    """Around another; the same port. One call meets `trouble`: the n-th of its kind, from 0. All are remembered."""

    def __init__(self, inner: Repository, at: tuple[Call, int] | None = None, trouble: Trouble | None = None) -> None:
        super().__init__(inner)
        self.calls: list[Call] = []
        self._at = at
        self._trouble = trouble
        self._dead = False
        self._lock = threading.Lock()
        self.met = False

    def put_new(self, name: str, body: Buffer) -> None:
        self.meet("put", name, lambda: self.inner.put_new(name, body))

    def get(self, name: str) -> bytes:
        return self.meet("get", name, lambda: self.inner.get(name))

    def get_extent(self, name: str, offset: int, length: int) -> bytes:
        return self.meet("get part of", name, lambda: self.inner.get_extent(name, offset, length))

    def get_tail(self, name: str, length: int) -> tuple[bytes, int]:
        return self.meet("get footer of", name, lambda: self.inner.get_tail(name, length))

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        yield from self.meet("list", prefix, lambda: [*self.inner.list(prefix, after)])

    def delete(self, name: str) -> None:
        self.meet("delete", name, lambda: self.inner.delete(name))

    def meet(self, verb: str, name: str, do: Callable[[], T]) -> T:
        """Make one call."""
        if self._dead:
            raise Killed
        call = Call.of(verb, name)
        with self._lock:
            self.calls.append(call)
            count = self.calls.count(call)
        if self._at != (call, count - 1):
            return do()
        assert self._trouble is not None
        self.met = True
        try:
            return self._trouble(name, do)
        except Killed:
            self._dead = True
            raise
