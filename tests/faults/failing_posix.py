"""A file system that fails at the n-th call that could: once, or from then on."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from media.repository import Buffer
from media.repository.posix import Posix

TAKES_SPACE = frozenset({"create", "write", "fsync", "link", "rename_new", "mkdir", "fsync_directory"})


class FailingPosix:
    """Passes every call on to `posix`, but the `n`-th of those in `calls` (from 1) fails; a write fails half done.

    `times` calls fail, one after another; a repaired file system is another object.
    """

    def __init__(
        self,
        posix: Posix,
        n: int,
        number: int = errno.ENOSPC,
        calls: frozenset[str] = TAKES_SPACE,
        times: int = 1,
    ) -> None:
        self.failed: str | None = None
        self._posix = posix
        self._left = n
        self._number = number
        self._calls = calls
        self._times = times

    def create(self, path: Path) -> int:
        self._count("create")
        return self._posix.create(path)

    def write(self, fd: int, body: Buffer) -> None:
        try:
            self._count("write")
        except OSError:
            self._posix.write(fd, bytes(body)[: len(body) // 2])
            raise
        self._posix.write(fd, body)

    def fsync(self, fd: int) -> None:
        self._count("fsync")
        self._posix.fsync(fd)

    def link(self, source: Path, target: Path) -> None:
        self._count("link")
        self._posix.link(source, target)

    def rename_new(self, source: Path, target: Path) -> None:
        self._count("rename_new")
        self._posix.rename_new(source, target)

    def unlink(self, path: Path) -> None:
        self._count("unlink")
        self._posix.unlink(path)

    def mkdir(self, path: Path) -> None:
        self._count("mkdir")
        self._posix.mkdir(path)

    def fsync_directory(self, path: Path) -> None:
        self._count("fsync_directory")
        self._posix.fsync_directory(path)

    def _count(self, call: str) -> None:
        if call not in self._calls:
            return
        self._left -= 1
        if -self._times < self._left <= 0:
            self.failed = self.failed or call
            raise OSError(self._number, os.strerror(self._number))
