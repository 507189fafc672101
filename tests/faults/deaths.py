"""Where a process dies: SIGKILL before or after the n-th call of the file system or of the repository."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from media.repository import Buffer, Entry, Repository
from tests.faults.unsynced_posix import UnsyncedPosix
from tests.media.fakes import Around


class Death:
    """Counts calls; at the n-th one the process is gone. n = 0 never comes."""

    def __init__(self, n: int, *, after: bool = False) -> None:
        self._left = n
        self._after = after

    @contextmanager
    def at_call(self) -> Iterator[bool]:
        """Around one call; whether it is the last one."""
        self._left -= 1
        last = self._left == 0
        if last and not self._after:
            self._die()
        try:
            yield last
        finally:
            if last:
                self._die()

    @staticmethod
    def _die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class KillingPosix(UnsyncedPosix):
    """The file system, until the process dies in the middle of it. A write dies half done."""

    def __init__(self, death: Death) -> None:
        self._death = death

    def create(self, path: Path) -> int:
        with self._death.at_call():
            return super().create(path)

    def write(self, fd: int, body: Buffer) -> None:
        with self._death.at_call() as last:
            super().write(fd, memoryview(body)[: len(body) // 2] if last else body)

    def fsync(self, fd: int) -> None:
        with self._death.at_call():
            super().fsync(fd)

    def link(self, source: Path, target: Path) -> None:
        with self._death.at_call():
            super().link(source, target)

    def rename_new(self, source: Path, target: Path) -> None:
        with self._death.at_call():
            super().rename_new(source, target)

    def unlink(self, path: Path) -> None:
        with self._death.at_call():
            super().unlink(path)

    def mkdir(self, path: Path) -> None:
        with self._death.at_call():
            super().mkdir(path)

    def fsync_directory(self, path: Path) -> None:
        with self._death.at_call():
            super().fsync_directory(path)


class KillingRepository(Around):
    """A repository around another; the same port, until the process dies at the n-th call, reads included."""

    def __init__(self, inner: Repository, death: Death) -> None:
        super().__init__(inner)
        self._death = death

    def put_new(self, name: str, body: Buffer) -> None:
        with self._death.at_call():
            super().put_new(name, body)

    def get(self, name: str) -> bytes:
        with self._death.at_call():
            return super().get(name)

    def get_extent(self, name: str, offset: int, length: int) -> bytes:
        with self._death.at_call():
            return super().get_extent(name, offset, length)

    def get_tail(self, name: str, length: int) -> tuple[bytes, int]:
        with self._death.at_call():
            return super().get_tail(name, length)

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        with self._death.at_call():
            found = [*super().list(prefix, after)]
        return iter(found)

    def delete(self, name: str) -> None:
        with self._death.at_call():
            super().delete(name)
