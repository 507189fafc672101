"""A file system that remembers what was done to it, and what a crash would have left.

What a crash keeps, in the model: the bytes of a file as of its last fsync, the names in a directory as of its last
fsync. Everything since may be lost or may have survived, each by itself; real file systems promise more, and differ
in what.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from media.repository import Buffer
from media.repository.posix import RealPosix


class Operation(NamedTuple):
    """One call that succeeded. Paths are relative to the recorded root; a file keeps its number under all its names."""

    call: str
    path: str = ""
    target: str = ""
    file: int = 0
    body: bytes = b""


class RecordingPosix:
    """Does everything for real below `root`, but syncs nothing: no test loses power."""

    def __init__(self, root: Path) -> None:
        self.log: list[Operation] = []
        self._root = root
        self._real = RealPosix()
        self._file_by_fd: dict[int, int] = {}
        self._files = 0
        self._lock = threading.Lock()

    def create(self, path: Path) -> int:
        with self._lock:
            fd = self._real.create(path)
            self._files += 1
            self._file_by_fd[fd] = self._files
            self.log.append(Operation("create", self._name(path), file=self._files))
            return fd

    def write(self, fd: int, body: Buffer) -> None:
        with self._lock:
            self._real.write(fd, body)
            self.log.append(Operation("write", file=self._file_by_fd[fd], body=bytes(body)))

    def fsync(self, fd: int) -> None:
        with self._lock:
            self.log.append(Operation("fsync", file=self._file_by_fd[fd]))

    def link(self, source: Path, target: Path) -> None:
        with self._lock:
            self._real.link(source, target)
            self.log.append(Operation("link", self._name(source), self._name(target)))

    def rename_new(self, source: Path, target: Path) -> None:
        with self._lock:
            self._real.rename_new(source, target)
            self.log.append(Operation("rename", self._name(source), self._name(target)))

    def unlink(self, path: Path) -> None:
        with self._lock:
            self._real.unlink(path)
            self.log.append(Operation("unlink", self._name(path)))

    def mkdir(self, path: Path) -> None:
        with self._lock:
            self._real.mkdir(path)
            self.log.append(Operation("mkdir", self._name(path)))

    def fsync_directory(self, path: Path) -> None:
        with self._lock:
            if not path.is_dir():
                raise FileNotFoundError(2, "No such file or directory", str(path))
            self.log.append(Operation("fsync_directory", self._name(path)))

    def _name(self, path: Path) -> str:
        return str(PurePosixPath(path.relative_to(self._root)))


def lost() -> bool:
    """For `replay`: nothing survives that was not synced."""
    return False


def survived() -> bool:
    """For `replay`: every name survives, and the bytes of files that were not synced do so in part."""
    return True


def replay(log: list[Operation], n: int, to: Path, survives: Callable[[], bool] = lost) -> None:
    """Build in the empty directory `to` what a crash after the first `n` operations leaves of an empty root.

    `survives` is asked once for each name and each file that changed since it was synced: a seeded coin mixes.
    """
    state = _State()
    for operation in log[:n]:
        state.do(operation)
    state.build(to, survives)


_Place = int | None
"""A file's number, or None for a directory."""


class _State:
    """Names and bytes, as they are and as they are durable."""

    def __init__(self) -> None:
        self._names: dict[str, _Place] = {}
        self._durable_names: dict[str, _Place] = {}
        self._bytes: dict[int, bytes] = {}
        self._durable_bytes: dict[int, bytes] = {}

    def do(self, operation: Operation) -> None:
        match operation.call:
            case "create":
                self._names[operation.path] = operation.file
                self._bytes[operation.file] = b""
            case "write":
                self._bytes[operation.file] += operation.body
            case "fsync":
                self._durable_bytes[operation.file] = self._bytes[operation.file]
            case "link":
                self._names[operation.target] = self._names[operation.path]
            case "rename":
                self._names[operation.target] = self._names.pop(operation.path)
            case "unlink":
                del self._names[operation.path]
            case "mkdir":
                self._names[operation.path] = None
            case "fsync_directory":
                self._sync_names(operation.path)

    def build(self, to: Path, survives: Callable[[], bool]) -> None:
        torn: dict[int, bytes] = {}
        for path in sorted(self._names.keys() | self._durable_names.keys()):
            changed = self._entry(self._names, path) != self._entry(self._durable_names, path)
            kept = self._names if changed and survives() else self._durable_names
            if path not in kept or not (to / path).parent.is_dir():
                continue
            file = kept[path]
            if file is None:
                (to / path).mkdir()
                continue
            if file not in torn:
                torn[file] = self._torn(file, survives)
            (to / path).write_bytes(torn[file])

    def _sync_names(self, directory: str) -> None:
        for path in self._names.keys() | self._durable_names.keys():
            if str(PurePosixPath(path).parent) != directory:
                continue
            if path in self._names:
                self._durable_names[path] = self._names[path]
            else:
                del self._durable_names[path]

    def _torn(self, file: int, survives: Callable[[], bool]) -> bytes:
        durable, whole = self._durable_bytes.get(file, b""), self._bytes[file]
        if durable == whole or not survives():
            return durable
        half = (len(durable) + len(whole)) // 2
        return whole[:half].ljust(len(whole), b"\0")  # the size arrived before the bytes

    @staticmethod
    def _entry(names: dict[str, _Place], path: str) -> tuple[_Place] | None:
        return (names[path],) if path in names else None
