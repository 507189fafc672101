"""Files that are being written, and who still writes them.

A writer holds a lock on its file that dies with it. So what is left over is known without a clock, and without process
numbers, which other machines use too.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from contextlib import suppress
from pathlib import Path

from media.repository.posix import Posix

_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}


def create_temporary(directory: Path, posix: Posix) -> tuple[Path, int]:
    """A new locked file in `directory`, which is made where it is missing, and its descriptor."""
    while True:
        path = directory / secrets.token_hex(16)
        try:
            fd = posix.create(path)
        except FileNotFoundError:
            with suppress(FileExistsError):
                posix.mkdir(directory)
            fd = posix.create(path)
        try:
            _lock(fd)
            if os.fstat(fd).st_nlink > 0:
                return path, fd
        except BaseException:
            remove_temporary(path, fd, posix)
            raise
        os.close(fd)  # swept between its creation and its lock: take another


def remove_temporary(path: Path, fd: int, posix: Posix) -> None:
    """Let go of a temporary file. Does not fail: what cannot be removed now is left for `sweep_temporary`."""
    with suppress(OSError):
        posix.unlink(path)
    with suppress(OSError):
        os.close(fd)


def sweep_temporary(path: Path, posix: Posix) -> bool:
    """Unlink the file if its writer is dead; whether it was."""
    try:
        fd = os.open(
            path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        )  # NFS: only what is open for writing locks
    except FileNotFoundError:
        return False  # its writer was done
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        posix.unlink(path)
    except OSError as error:
        if error.errno in {errno.EWOULDBLOCK, errno.ENOENT} | _NO_LOCKS:
            return False
        raise
    finally:
        os.close(fd)
    return True


def _lock(fd: int) -> None:
    """Hold the file as a living writer does. Where there are no locks, nothing is swept either."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
