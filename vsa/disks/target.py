"""Where a disk is restored to: a new sparse file, or a block device.

A file grows under another name beside its own and gets its own only when all of it is there, so an interrupted restore
shows nothing. It is with the operating system then, as with any program that writes a file; a device is waited for.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
import struct
from pathlib import Path
from types import TracebackType

from media.faults import TargetExists, TargetUnwritable
from media.repository.posix import RealPosix

_BLKZEROOUT = 0x127F
_NO_SUCH_WAY = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}  # as on a memory stick
_ZEROS = bytes(1 << 20)


class FileTarget:
    """A raw image file. Use as a context: leaving it without `finish` removes what was written."""

    reads_zero = True

    def __init__(self, path: Path, size: int, *, overwrite: bool) -> None:
        """Raises TargetExists unless `overwrite`, TargetUnwritable."""
        if path.is_dir():
            raise TargetExists(f"{path}: expected a file or nothing, found a directory")
        if not overwrite and os.path.lexists(path):
            raise TargetExists(f"{path}: expected no file there, found one; --overwrite replaces it")
        self._path = path
        self._overwrite = overwrite
        try:
            self._create(size)
        except OSError as error:
            raise TargetUnwritable(f"{path}: cannot be created with {size} bytes: {error.strerror}") from error

    def _create(self, size: int) -> None:
        """Set the partial file and its descriptor."""
        self._partial = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}.partial")
        self._fd = os.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(self._fd, size)
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def stat(self) -> os.stat_result:
        """Of the file, which is the same when it has its name. Raises OSError."""
        return os.fstat(self._fd)

    def write(self, offset: int, data: memoryview) -> None:
        _write(self._fd, self._path, offset, data)

    def write_zeros(self, offset: int, length: int) -> None:
        """Nothing to do: the file is new."""

    def finish(self) -> None:
        """Give the file its name. Raises TargetExists when another was there first."""
        give_name(self._partial, self._path, overwrite=self._overwrite)

    def __enter__(self) -> FileTarget:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        fd, self._fd = self._fd, -1  # a late write is refused, and never meets another file's number
        os.close(fd)
        self._partial.unlink(missing_ok=True)


class DeviceTarget:
    """A block device: asked for by name and with `--overwrite`, because what is on it is gone afterwards."""

    reads_zero = False

    def __init__(self, path: Path, size: int, *, overwrite: bool) -> None:
        """Raises TargetExists unless `overwrite`, TargetUnwritable, also when the device is too small."""
        if not overwrite:
            raise TargetExists(f"{path}: a block device; --overwrite writes over what is on it")
        self._path = path
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)  # O_EXCL: refused while it is mounted
            room = os.lseek(self._fd, 0, os.SEEK_END)
        except OSError as error:
            raise TargetUnwritable(f"{path}: cannot be opened for writing: {error.strerror}") from error
        if room < size:
            os.close(self._fd)
            raise TargetUnwritable(f"{path}: expected a device of at least {size} bytes, found {room}")

    def write(self, offset: int, data: memoryview) -> None:
        _write(self._fd, self._path, offset, data)

    def write_zeros(self, offset: int, length: int) -> None:
        try:
            fcntl.ioctl(
                self._fd, _BLKZEROOUT, struct.pack("QQ", offset, length)
            )  # the device's own way, where it has one
        except OSError:
            for position in range(offset, offset + length, len(_ZEROS)):
                _write(self._fd, self._path, position, memoryview(_ZEROS)[: offset + length - position])

    def finish(self) -> None:
        """Wait until the device holds everything."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise TargetUnwritable(f"{self._path}: {error.strerror}") from error

    def __enter__(self) -> DeviceTarget:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        fd, self._fd = self._fd, -1
        os.close(fd)


Target = FileTarget | DeviceTarget


def is_device(path: Path) -> bool:
    """Whether `path` names a block device."""
    return path.exists() and stat.S_ISBLK(path.stat().st_mode)


def open_target(path: Path, size: int, *, overwrite: bool) -> Target:
    """The target that `path` names: a block device where one is, else a file. Raises TargetExists, TargetUnwritable."""
    kind = DeviceTarget if is_device(path) else FileTarget
    return kind(path, size, overwrite=overwrite)


def give_name(partial: Path, path: Path, *, overwrite: bool) -> None:
    """Move `partial` to `path`. Raises TargetExists when another was there first, TargetUnwritable."""
    try:
        if overwrite:
            partial.replace(path)
        else:
            _name_newly(partial, path)
    except FileExistsError:
        raise TargetExists(f"{path}: expected no file there, found one that was made meanwhile") from None
    except OSError as error:
        raise TargetUnwritable(f"{path}: cannot get its name: {error.strerror}") from error


def _name_newly(partial: Path, path: Path) -> None:
    """The name by the first way that this file system has; none replaces what another made."""
    for name in (os.link, RealPosix().rename_new):
        try:
            name(partial, path)
        except OSError as error:
            if error.errno not in _NO_SUCH_WAY:
                raise
        else:
            return
    path.touch(exist_ok=False)  # the name is ours now, for the moment with an empty file
    try:
        partial.replace(path)
    except BaseException:
        path.unlink()
        raise


def _write(fd: int, path: Path, offset: int, data: memoryview) -> None:
    left = data
    while left:
        try:
            count = os.pwrite(fd, left, offset)
        except OSError as error:
            raise TargetUnwritable(f"{path}: {len(left)} bytes at {offset}: {error.strerror}") from error
        left = left[count:]
        offset += count
