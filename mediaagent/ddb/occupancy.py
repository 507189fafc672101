"""Who has an index open, and whether everybody stopped cleanly.

    guard       flocked while somebody opens or closes: everything in this file happens under it
    open/<mark> one per opened index, flocked as long as its process lives
    clean       the seal: how data.mdb looked when the last one closed it. Removed, durably, before anybody writes

    open:   a mark that can be locked has no process any more: a stop that was not clean
            no seal, or data.mdb is not as sealed: the same (also what a power failure leaves, whatever it did to marks)
    close:  remove the own mark; when no mark is left, seal

So an index is trusted unread when its seal fits, or when somebody alive has it open: they checked it, and the death of
a process, as against that of a machine, cannot damage it (a commit ends with the write of one page). Stale marks then
stay for whoever finds itself alone. Damage that leaves size, time and both meta pages as they were is not seen: where
it ends in a crash, that crash is the unclean stop that has it found.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import xxhash

from mediaagent.ddb.faults import DdbUnavailable

_META_PAGES_BYTES = 8192
_POLL_SECONDS = 0.05
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Occupancy:
    """The marks and the seal of the index in one directory. Methods raise OSError; all but `guarded` need the guard."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._marks = directory / "open"
        self._seal = directory / "clean"
        self._data = directory / "data.mdb"
        self._own: tuple[Path, int] | None = None

    @contextmanager
    def guarded(self, patience_seconds: float) -> Iterator[None]:
        """Alone in opening and closing. Raises DdbUnavailable when another does not finish in that time."""
        guard = os.open(self._directory / "guard", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            for _ in range(max(1, int(patience_seconds / _POLL_SECONDS))):
                if _locked(guard):
                    break
                time.sleep(_POLL_SECONDS)
            else:
                raise DdbUnavailable(f"{self._directory}: somebody is opening or closing it for {patience_seconds:g} s")
            yield
        finally:
            os.close(guard)

    def enter(self) -> None:
        """We have the index open from here on: the seal is broken, durably."""
        self._marks.mkdir(mode=0o700, exist_ok=True)
        mark = self._marks / f"{os.getpid()}-{secrets.token_hex(8)}"
        descriptor = os.open(mark, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._own = mark, descriptor
        if self._seal.exists():
            self._seal.unlink()
            sync_directory(self._directory)

    def leave(self, *, clean: bool) -> None:
        """We closed it. Who saw a fault leaves the mark behind, so that the next one checks."""
        if self._own is None:
            return
        mark, descriptor = self._own
        self._own = None
        os.close(descriptor)
        if clean:
            mark.unlink(missing_ok=True)
            if not any(self._marks.iterdir()):
                write_durably(self._seal, self._look())

    def withdraw(self) -> None:
        """We could not open it."""
        if self._own is not None:
            mark, descriptor = self._own
            self._own = None
            os.close(descriptor)
            mark.unlink(missing_ok=True)

    def occupied(self) -> bool:
        """Somebody alive has it open."""
        return any(_alive(mark) for mark in self._marks.glob("*"))

    def doubt(self) -> str | None:
        """Why the files may not be as the last one left them; None when they are. Asked while nobody has them open."""
        if any(self._marks.glob("*")):
            return "a process stopped without closing it"
        if not self._seal.exists():
            return "it was not closed"
        return None if self._seal.read_bytes() == self._look() else "data.mdb changed since it was closed"

    def forget_stale(self) -> None:
        """The files were checked or removed: marks without a process say nothing any more."""
        for mark in self._marks.glob("*"):
            if not _alive(mark):
                mark.unlink(missing_ok=True)

    def _look(self) -> bytes:
        with self._data.open("rb") as data:
            status = os.fstat(data.fileno())
            metas = xxhash.xxh3_64_hexdigest(data.read(_META_PAGES_BYTES))
        return json.dumps({"bytes": status.st_size, "metas": metas, "mtime_ns": status.st_mtime_ns}).encode()


def write_durably(path: Path, content: bytes) -> None:
    """The whole file or none of it, also over a power failure."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Names made and removed in it are durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _alive(mark: Path) -> bool:
    descriptor = os.open(mark, os.O_RDWR | os.O_CLOEXEC)
    try:
        return not _locked(descriptor)
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
