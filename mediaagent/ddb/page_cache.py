"""Pages on the local disk: what backups, restores and mounts read of a disk's tree, without a request each.

    pages/<sid>/<seq>   entries, appended: HEAD | what was put | XXH3-128 of (repository UUID | cid u64 | slot u32 | it)
    HEAD                slot u32 | length u32 | XXH3-64 of (repository UUID | cid u64 | slot u32 | length u32)

What is put is as it lies in the repository, sealed where that is. A cache: nothing is fsynced and nothing raises. What
is torn, flipped or another container's is a miss and takes its file with it; what another process is just appending is
not there yet.

All files together take `most_bytes`, and a sixteenth more for each other process that puts. What is beyond it goes by
files, those first that no process has begun to read from for the longest time.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import xxhash

from media.ids import MAX_SEQ, sid_of, sid_text

PAGES_BYTES = 2 << 30  # the leaves of 3 TiB of disks at an average chunk of 64 KiB
_HEAD = struct.Struct("<IIQ")
_NAMED = struct.Struct("<QI")
_CHECK_BYTES = 16


@dataclass
class _Table:
    """Where the entries of a file are, as far as it was looked at."""

    inode: int
    end: int = 0
    places: dict[int, tuple[int, int]] = field(default_factory=dict)  # slot -> offset and length of what was put


class PageCache:
    """Pages of one repository under one directory. Safe to use from several threads and processes.

    `note(sid)` is asked before anything of a session is kept: False keeps nothing.
    """

    def __init__(
        self, directory: Path, repository_uuid: bytes, note: Callable[[int], bool], most_bytes: int = PAGES_BYTES
    ) -> None:
        self._directory = directory / "pages"
        self._repository_uuid = repository_uuid
        self._note = note
        self._most_bytes = most_bytes
        self._step_bytes = most_bytes // 16
        self._unseen_bytes = self._step_bytes  # put since the files were last looked at; the first put looks
        self._tables: dict[int, _Table] = {}
        self._lock = threading.Lock()

    def get(self, cid: int, slot: int) -> bytes | None:
        """The page as it was put; None when it is not here or not whole."""
        try:
            descriptor = os.open(self._path(cid), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            with self._lock:
                self._tables.pop(cid, None)
            return None
        try:
            found = self._read(descriptor, cid, slot)
        except (OSError, _Damaged):
            self.forget([cid])
            return None
        finally:
            os.close(descriptor)
        return found

    def _read(self, descriptor: int, cid: int, slot: int) -> bytes | None:
        place = self._place(descriptor, cid, slot)
        if place is None:
            return None
        offset, length = place
        raw = os.pread(descriptor, length + _CHECK_BYTES, offset)
        if len(raw) != length + _CHECK_BYTES or raw[length:] != self._check(cid, slot, raw[:length]):
            raise _Damaged
        return raw[:length]

    def _place(self, descriptor: int, cid: int, slot: int) -> tuple[int, int] | None:
        status = os.fstat(descriptor)
        with self._lock:
            table = self._tables.get(cid)
            if table is None or table.inode != status.st_ino:
                os.utime(descriptor)
                table = self._tables[cid] = _Table(status.st_ino)
            self._learn(descriptor, cid, table, status.st_size)
            return table.places.get(slot)

    def _learn(self, descriptor: int, cid: int, table: _Table, size: int) -> None:
        """Look at what was appended since."""
        while table.end + _HEAD.size <= size:
            slot, length, check = _HEAD.unpack(os.pread(descriptor, _HEAD.size, table.end))
            if check != self._head_check(cid, slot, length):
                raise _Damaged
            after = table.end + _HEAD.size + length + _CHECK_BYTES
            if after > size:
                return
            table.places[slot] = table.end + _HEAD.size, length
            table.end = after

    def put(self, cid: int, pages: Iterable[tuple[int, bytes]]) -> None:
        """Keep these pages of a container that is durable, each with its slot."""
        if not self._note(sid_of(cid)):
            return
        path, put_bytes = self._path(cid), 0
        with contextlib.suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                for slot, page in pages:
                    entry = self._entry(cid, slot, page)
                    put_bytes += len(entry)
                    if os.write(descriptor, entry) != len(entry):  # no space: nothing could be found behind this
                        self.forget([cid])
                        break
            finally:
                os.close(descriptor)
        self._bound(put_bytes)

    def _entry(self, cid: int, slot: int, page: bytes) -> bytes:
        head = _HEAD.pack(slot, len(page), self._head_check(cid, slot, len(page)))
        return head + page + self._check(cid, slot, page)

    def _bound(self, put_bytes: int) -> None:
        """Remove what was not used for the longest time, when all is too much."""
        with self._lock:
            self._unseen_bytes += put_bytes
            if self._unseen_bytes < self._step_bytes:
                return
            self._unseen_bytes = 0
        with contextlib.suppress(OSError):
            files = sorted(self._files())
            held = sum(size for _, size, _ in files)
            for _, size, path in files:
                if held <= self._most_bytes - self._step_bytes:
                    return
                _remove(path)
                held -= size

    def _files(self) -> Iterable[tuple[int, int, Path]]:
        """When it was last used, size and path of every file."""
        for session in os.scandir(self._directory):
            for file in os.scandir(session):
                with contextlib.suppress(FileNotFoundError):  # another process removes too
                    status = file.stat()
                    yield status.st_mtime_ns, status.st_size, Path(file.path)

    def forget(self, cids: Iterable[int]) -> None:
        """These containers are gone, or not to be trusted."""
        for cid in cids:
            with self._lock:
                self._tables.pop(cid, None)
            _remove(self._path(cid))

    def _path(self, cid: int) -> Path:
        return self._directory / sid_text(sid_of(cid)) / f"{cid & MAX_SEQ:06x}"

    def _head_check(self, cid: int, slot: int, length: int) -> int:
        return xxhash.xxh3_64_intdigest(self._repository_uuid + _NAMED.pack(cid, slot) + length.to_bytes(4, "little"))

    def _check(self, cid: int, slot: int, page: bytes) -> bytes:
        return xxhash.xxh3_128_digest(self._repository_uuid + _NAMED.pack(cid, slot) + page)


class _Damaged(Exception):
    """A file is not as it was written."""


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
        path.parent.rmdir()  # when it was the session's last
