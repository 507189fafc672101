"""The `Posix` port: the calls of the file system on which durability rests, and the real ones.

It is a port so that tests can record the calls and build what a crash between any two of them leaves behind.
Reading, listing and locking change nothing that a crash could drop, so they are not part of it.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
from pathlib import Path
from typing import Protocol

from media.repository import Buffer

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_PAGE_BYTES = mmap.PAGESIZE
_DIRECT_BYTES = 1 << 20
_NOT_DIRECTLY = {errno.EINVAL, errno.EOPNOTSUPP}


class Posix(Protocol):
    """Every call raises OSError, and has then changed nothing that a later call could not undo."""

    def create(self, path: Path) -> int:
        """Open a new file for writing, readable by its owner only; FileExistsError when there is one."""

    def write(self, fd: int, body: Buffer) -> None:
        """Append all of `body`."""

    def fsync(self, fd: int) -> None:
        """Make the bytes of the file durable; its name is another matter."""

    def link(self, source: Path, target: Path) -> None:
        """Give the file a second name; FileExistsError when the name is taken."""

    def rename_new(self, source: Path, target: Path) -> None:
        """Move the file to a new name; FileExistsError when the name is taken."""

    def unlink(self, path: Path) -> None:
        """Take a name away."""

    def mkdir(self, path: Path) -> None:
        """Make a directory that only its owner may enter."""

    def fsync_directory(self, path: Path) -> None:
        """Make the names in a directory durable, and the absence of those that were taken away."""


class RealPosix:
    """The kernel's."""

    def create(self, path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def write(self, fd: int, body: Buffer) -> None:
        left = memoryview(body).cast("B")
        if len(left) >= _DIRECT_BYTES:
            left = left[_write_directly(fd, left[: len(left) // _PAGE_BYTES * _PAGE_BYTES]) :]
        while left:
            left = left[os.write(fd, left) :]

    def fsync(self, fd: int) -> None:
        os.fsync(fd)

    def link(self, source: Path, target: Path) -> None:
        os.link(source, target, follow_symlinks=False)

    def rename_new(self, source: Path, target: Path) -> None:
        renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
        if renameat2 is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), str(target))
        old, new = os.fsencode(source), os.fsencode(target)
        if renameat2(_AT_FDCWD, old, _AT_FDCWD, new, ctypes.c_uint(_RENAME_NOREPLACE)) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(target))

    def unlink(self, path: Path) -> None:
        path.unlink()

    def mkdir(self, path: Path) -> None:
        path.mkdir(0o700)

    def fsync_directory(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _write_directly(fd: int, pages: memoryview) -> int:
    """Write whole pages past the page cache; how many bytes of them were. The rest is for who asked.

    What is durable anyway need not be copied into memory that others use better: that copy was a tenth of the CPU
    seconds of a first backup. Not every file system can (EINVAL, also for memory that does not begin at a page), and
    one that cannot is written as ever.
    """
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    written = 0
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_DIRECT)
        while written < len(pages):
            written += os.write(fd, pages[written:])
    except OSError as error:
        if error.errno not in _NOT_DIRECTLY:
            raise
    finally:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags)
    return written
