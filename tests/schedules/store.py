"""The store of a schedule, and each process's view of it: at a call it may be overtaken, cheated or ended."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from media.faults import ObjectExists, ObjectMissing, RepositoryUnreachable
from media.repository import Buffer, Entry
from media.repository.memory import MemoryRepository
from tests.media.fakes import Around

T = TypeVar("T")


class Store(MemoryRepository):
    """Linearizable. Remembers which names changed since somebody asked."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__()
        for name, body in objects.items():
            super().put_new(name, body)
        self._changed: set[str] = set()
        self.deleted: list[str] = []

    def put_new(self, name: str, body: Buffer) -> None:
        super().put_new(name, body)
        self._changed.add(name)

    def delete(self, name: str) -> None:
        super().delete(name)
        self._changed.add(name)
        self.deleted.append(name)

    def put_over(self, name: str, body: Buffer) -> None:
        """What no rule allows: for tests that remove one."""
        super().delete(name)
        self.put_new(name, body)

    def has(self, name: str) -> bool:
        return next((entry.name == name for entry in self.list(name)), False)

    def take_changed(self) -> set[str]:
        """The names that were put or deleted since the last time."""
        changed, self._changed = self._changed, set()
        return changed


class Fate(enum.Enum):
    """What becomes of one call."""

    DONE = "done"
    NOT_DONE = "not done, and said so"
    REPLY_LOST = "done, and the reply lost"
    LATE = "done later, and said to have failed"
    STOPPED_BEFORE = "the process stopped before it"
    STOPPED_AFTER = "the process stopped behind it"
    STOPPED_LATE = "the process stopped, and it is done later"


class Stopped(BaseException):
    """The process is gone. Raised in all of its threads, which do nothing more that anybody could see."""


class Caller(Protocol):
    """Who decides: `fate` returns when it is this call's turn, `late` carries a call out at another time."""

    def fate(self, call: str) -> Fate: ...

    def late(self, call: str, do: Callable[[], None]) -> None: ...

    def stop(self) -> Stopped: ...

    def put_begins(self, name: str, body: bytes) -> None: ...


class View(Around):
    """The repository as one process reaches it."""

    def __init__(self, store: Store, caller: Caller) -> None:
        super().__init__(store)
        self._store = store
        self._caller = caller

    def put_new(self, name: str, body: Buffer) -> None:
        kept = bytes(body)
        self._caller.put_begins(name, kept)
        self._change(f"put {name}", lambda: self._store.put_new(name, kept))

    def put_over(self, name: str, body: Buffer) -> None:
        """What no rule allows: for tests that remove one."""
        kept = bytes(body)
        self._change(f"put over {name}", lambda: self._store.put_over(name, kept))

    def delete(self, name: str) -> None:
        self._change(f"delete {name}", lambda: self._store.delete(name))

    def get(self, name: str) -> bytes:
        return self._call(f"get {name}", lambda: self._store.get(name))

    def get_extent(self, name: str, offset: int, length: int) -> bytes:
        return self._call(f"get part of {name}", lambda: self._store.get_extent(name, offset, length))

    def get_tail(self, name: str, length: int) -> tuple[bytes, int]:
        return self._call(f"get tail of {name}", lambda: self._store.get_tail(name, length))

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        """A listing whose reply is lost breaks off in the middle: it is read in pieces."""
        call = f"list {prefix}"
        fate = self._caller.fate(call)
        if fate in (Fate.STOPPED_BEFORE, Fate.STOPPED_AFTER):
            raise self._caller.stop()
        found = [*self._store.list(prefix, after)]
        if fate is Fate.DONE:
            yield from found
            return
        yield from found[: len(found) // 2]
        raise _unreachable(call)

    def _change(self, call: str, do: Callable[[], None]) -> None:
        fate = self._caller.fate(call)
        if fate in (Fate.LATE, Fate.STOPPED_LATE):
            self._caller.late(call, do)
            raise _unreachable(call) if fate is Fate.LATE else self._caller.stop()
        self._carry_out(call, fate, do)

    def _call(self, call: str, do: Callable[[], T]) -> T:
        return self._carry_out(call, self._caller.fate(call), do)

    def _carry_out(self, call: str, fate: Fate, do: Callable[[], T]) -> T:
        if fate is Fate.STOPPED_BEFORE:
            raise self._caller.stop()
        if fate is Fate.NOT_DONE:
            raise _unreachable(call)
        try:
            answer = do()
        except (ObjectExists, ObjectMissing):
            if fate is Fate.DONE:
                raise
        else:
            if fate is Fate.DONE:
                return answer
        if fate is Fate.STOPPED_AFTER:
            raise self._caller.stop()
        raise _unreachable(call)


def _unreachable(call: str) -> RepositoryUnreachable:
    return RepositoryUnreachable(f"{call}: no answer")
