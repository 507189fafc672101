"""A raw image file whose restore goes on where an interrupted one stopped.

The file grows as `.NAME.ID.partial` beside its own name, with its journal `.NAME.ID.journal`. ID names what is
restored, so the same restore finds its own and no other does. Both files stay when it is interrupted, and go when it is
finished. Who does not want to go on removes them.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from media.extents import Extent, gaps
from media.faults import TargetExists, TargetUnwritable
from runtime.clock import Clock, SystemClock
from vsa.disks.journal import Journal, boot_id
from vsa.disks.target import FileTarget

_KEEP_SIZE_AND_PUNCH_HOLE = 0x01 | 0x02

MakeJournal = Callable[[Path, int, Clock, str], Journal]


class ContinuedFile(FileTarget):
    """Use as a context: leaving it without `finish` keeps what was written, and `kept` says where.

    `done` is what an earlier run wrote: normal, and not to be written again.
    """

    def __init__(
        self,
        path: Path,
        size: int,
        identity: str,
        *,
        overwrite: bool,
        clock: Clock | None = None,
        boot: str = "",
        journal: MakeJournal = Journal,
    ) -> None:
        """Raises TargetExists, also while the same restore runs; TargetUnwritable."""
        self._identity = identity
        self._clock = clock or SystemClock()
        self._boot = boot or boot_id()
        self._make_journal = journal
        self._finished = False
        self.kept: Path | None = None
        super().__init__(path, size, overwrite=overwrite)

    @property
    def done(self) -> list[Extent]:
        return self._journal.done

    def others(self) -> list[Path]:
        """What interrupted restores of something else left beside this name."""
        beside = self._path.parent.glob(f".{_literal(self._path.name)}.*.partial")
        return sorted(other for other in beside if other != self._partial)

    def _create(self, size: int) -> None:
        name = f".{self._path.name}.{self._identity}"
        self._partial = self._path.with_name(f"{name}.partial")
        self._journal_path = self._path.with_name(f"{name}.journal")
        self._fd = self._open_alone()
        try:
            self._journal = self._make_journal(self._journal_path, self._fd, self._clock, self._boot)
            try:
                self._make_ready(size)
            except BaseException:
                self._journal.close()
                raise
        except BaseException:
            os.close(self._fd)
            raise

    def _open_alone(self) -> int:
        """The partial file, locked until it is closed."""
        while True:
            fd = os.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found = os.fstat(fd)
                if found.st_nlink == 1 and os.path.samestat(found, self._partial.lstat()):
                    return fd
                # Finished: it has its own name, and its end was only not reached; or it was, just now.
                self._partial.unlink(missing_ok=True)
                self._journal_path.unlink(missing_ok=True)
            except FileNotFoundError:
                os.close(fd)
                continue
            except BlockingIOError:
                os.close(fd)
                raise TargetExists(f"{self._partial}: another run of the same restore is writing it") from None
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def _make_ready(self, size: int) -> None:
        """What is not done reads as zero; where that cannot be had, all is begun anew."""
        if self.done and os.fstat(self._fd).st_size == size:
            try:
                for gap in gaps(self.done, 0, size):
                    _punch_hole(self._fd, gap)
            except OSError as error:
                if error.errno not in {errno.EOPNOTSUPP, errno.ENOSYS}:
                    raise
            else:
                return
        self._journal.forget()
        os.ftruncate(self._fd, 0)
        os.ftruncate(self._fd, size)
        self._journal.begin(self._boot)

    def write(self, offset: int, data: memoryview) -> None:
        super().write(offset, data)
        try:
            self._journal.note(Extent(offset, len(data)))
        except OSError as error:
            raise TargetUnwritable(f"{self._journal_path}: {error.strerror}") from error

    def finish(self) -> None:
        super().finish()
        self._finished = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        fd, self._fd = self._fd, -1
        if not self._finished:
            with suppress(OSError):  # the disk is full, say: what is not noted is written again
                self._journal.flush()
        if self._finished or self._journal.is_empty:
            self._partial.unlink(missing_ok=True)
            self._journal_path.unlink(missing_ok=True)
        else:
            self.kept = self._partial
        self._journal.close()
        os.close(fd)


def _punch_hole(fd: int, extent: Extent) -> None:
    fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
    if fallocate is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    offset, length = ctypes.c_int64(extent.offset), ctypes.c_int64(extent.length)
    if fallocate(fd, _KEEP_SIZE_AND_PUNCH_HOLE, offset, length) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _literal(name: str) -> str:
    """A name as a pattern that fits nothing else."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
