"""A repository in a directory: local disks, and network file systems that behave like them.

An object appears by `link`, which is put-if-absent and shows nothing before the bytes are durable; O_EXCL would show an
empty winner, rename would overwrite. What is being written lies under `tmp/`.

An object is durable when put_new returned or was refused; what `get` or `list` finds may be newer than that.

Who begins to write sweeps first: the first put_new removes what dead writers left under `tmp/`.

A root that is exchanged under us (a mount that went away, or came) is RepositoryUnreachable: its emptiness is no
answer. A file that cannot be read below a root that is there and may be entered is ObjectUnreadable, and no more.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from media.faults import (
    ObjectExists,
    ObjectMissing,
    ObjectUnreadable,
    RepositoryFault,
    RepositoryUnfit,
    RepositoryUnreachable,
    RepositoryUnsynced,
)
from media.repository import Buffer, Entry
from media.repository.names import TEMPORARY, checked_name, checked_prefix
from media.repository.posix import Posix, RealPosix
from media.repository.posix_faults import OF_ONE_OBJECT, translated
from media.repository.temporaries import create_temporary, remove_temporary, sweep_temporary
from media.repository.walk import walk

_NO_OBJECT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO}  # ELOOP a symbolic link, ENXIO a socket
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}  # vfat and exfat say EPERM
_NO_RENAME = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}
_READING = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a FIFO must not hold us up


class LocalRepository:
    """Objects as files below `root`. The first put_new makes the root if it was missing when this object was made."""

    def __init__(self, root: Path, posix: Posix | None = None) -> None:
        """Raises RepositoryUnfit when something that is no directory lies at `root`."""
        self._root = root.absolute()
        self._temporary = self._root / TEMPORARY
        self._posix = posix or RealPosix()
        self._durable: set[Path] = set()  # directories that a crash cannot take away, as far as this object knows
        self._swept = False
        self._identity = self._look("open", "repository")

    @property
    def url(self) -> str:
        return self._root.as_uri()

    def put_new(self, name: str, body: Buffer) -> None:
        """A failure before the object has its name leaves nothing; a later one leaves it whole, but maybe not durable.

        Then it is not taken back, because somebody may have seen it. Raises RepositoryUnsynced when a directory cannot
        be synced.
        """
        path = self._root / checked_name(name)
        self._check_root("put", name)
        self._sweep_once()
        with translated("put", name, path):
            self._make_durable(path.parent, name)
            temporary, fd = create_temporary(self._temporary, self._posix)
            try:
                self._posix.write(fd, body)
                self._posix.fsync(fd)
                self._check_root("put", name)
                ours = self._give_name(temporary, path) or _is_same(fd, path)
                self._sync_directory(path.parent, name)  # whoever finds the name taken makes the winner durable
            finally:
                remove_temporary(temporary, fd, self._posix)
            if not ours:
                raise _taken(name, path)

    def get(self, name: str) -> bytes:
        with self._opened(name) as (fd, size):
            return _read(fd, 0, size)

    def get_extent(self, name: str, offset: int, length: int) -> bytes:
        with self._opened(name) as (fd, size):
            return _read(fd, offset, min(length, size - offset))

    def get_tail(self, name: str, length: int) -> tuple[bytes, int]:
        with self._opened(name) as (fd, size):
            start = max(0, size - length)
            return _read(fd, start, size - start), size

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        """Files whose name no object can have, links and the like are not in it."""
        checked_prefix(prefix)
        self._check_root("list", prefix)
        yield from walk(self._root, prefix, after)
        self._check_root("list", prefix)

    def delete(self, name: str) -> None:
        """On return the object is gone for good: a crash does not bring it back."""
        path = self._root / checked_name(name)
        with translated("delete", name, path):
            try:
                self._posix.unlink(path)
            except (FileNotFoundError, NotADirectoryError):
                self._check_root("delete", name)
                return
            self._posix.fsync_directory(path.parent)

    def sweep(self) -> int:
        """Unlink what dead writers left under `tmp/`; the number of files. May run at any time, beside anybody."""
        with translated("sweep", TEMPORARY, self._temporary):
            try:
                leftovers = sorted(self._temporary.iterdir())
            except FileNotFoundError:
                return 0
            return sum(sweep_temporary(leftover, self._posix) for leftover in leftovers)

    def _sweep_once(self) -> None:
        """Best effort: what cannot be swept, as another user's files, is in nobody's way."""
        if not self._swept:
            self._swept = True
            with suppress(RepositoryFault):
                self.sweep()

    def _give_name(self, temporary: Path, path: Path) -> bool:
        """Whether the name was free, and is the file's now."""
        try:
            self._posix.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return self._rename(temporary, path)
        return True

    def _rename(self, temporary: Path, path: Path) -> bool:
        try:
            self._posix.rename_new(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_RENAME:
                raise
            raise RepositoryUnfit(f"{path}: the file system has neither hard links nor RENAME_NOREPLACE") from error
        return True

    def _make_durable(self, directory: Path, name: str) -> None:
        """Make `directory` and what leads to it from the root, so that a crash does not take it away.

        What exists is synced once as well: another writer may have made it a moment ago.
        """
        if directory in self._durable:
            return
        if directory != self._root:
            self._make_durable(directory.parent, name)
            with suppress(FileExistsError):
                self._posix.mkdir(directory)
            self._sync_directory(directory.parent, name)
        elif self._identity is None:
            self._make_root(name)
        self._durable.add(directory)

    def _make_root(self, name: str) -> None:
        missing = [each for each in (self._root, *self._root.parents) if not each.exists()]
        for each in reversed(missing):
            with suppress(FileExistsError):
                self._posix.mkdir(each)
            self._sync_directory(each.parent, name)
        self._identity = self._look("make", "repository")

    def _sync_directory(self, directory: Path, name: str) -> None:
        with translated("put", name, self._root / name, RepositoryUnsynced):
            self._posix.fsync_directory(directory)

    def _look(self, operation: str, name: str) -> tuple[int, int] | None:
        """Device and inode of the root; None when nothing is there."""
        with translated(operation, name, self._root):
            try:
                found = self._root.stat()
            except FileNotFoundError:
                return None
        if not stat.S_ISDIR(found.st_mode):
            raise RepositoryUnfit(f"{self._root}: expected a directory, found something else")
        return found.st_dev, found.st_ino

    def _check_root(self, operation: str, name: str) -> None:
        if self._identity is not None and self._look(operation, name) != self._identity:
            raise RepositoryUnreachable(
                f"{operation} {name}: {self._root}: the directory went away, or another one took its place"
            )

    @contextmanager
    def _opened(self, name: str) -> Iterator[tuple[int, int]]:
        """Descriptor and size of the object."""
        path = self._root / checked_name(name)
        with translated("get", name, path), self._told_apart(name, path):
            try:
                fd = os.open(path, _READING)
            except OSError as error:
                if error.errno not in _NO_OBJECT:
                    raise
                self._check_root("get", name)
                raise ObjectMissing(f"get {name}: {path}: no such object") from error
            try:
                found = os.fstat(fd)
                if not stat.S_ISREG(found.st_mode):
                    raise ObjectMissing(f"get {name}: {path}: not a regular file")
                yield fd, found.st_size
            finally:
                os.close(fd)

    @contextmanager
    def _told_apart(self, name: str, path: Path) -> Iterator[None]:
        """An error of the object alone is ObjectUnreadable; one of the whole place stays what it is."""
        try:
            yield
        except OSError as error:
            if error.errno not in OF_ONE_OBJECT:
                raise
            self._check_root("get", name)
            if not os.access(self._root, os.X_OK, effective_ids=True):
                raise  # refused as a whole
            raise ObjectUnreadable(f"get {name}: {path}: {error.strerror or error}") from error


def _is_same(fd: int, path: Path) -> bool:
    """Whether `path` is the open file: on NFS a link whose reply was lost is repeated, and refused the second time."""
    try:
        return os.path.samestat(os.fstat(fd), path.lstat())
    except FileNotFoundError:
        return False


def _taken(name: str, path: Path) -> ObjectExists | RepositoryUnfit:
    if path.is_symlink() or (path.exists() and not path.is_file()):
        return RepositoryUnfit(f"put {name}: {path}: something that is no regular file has this name")
    return ObjectExists(f"put {name}: {path}: the name is taken")


def _read(fd: int, offset: int, length: int) -> bytes:
    """`length` bytes from `offset`, fewer where the file ends; 2 GiB is the most that one call gives."""
    parts: list[bytes] = []
    while length > 0 and (part := os.pread(fd, length, offset)):
        parts.append(part)
        offset += len(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
