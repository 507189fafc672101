"""A disk of layers, read from their files and written to the uppermost, in the dummy nbdkit's process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.sim.vcenter.extents import Extents, Range
from tests.sim.vcenter.sparse import data_ranges

_FALLOC_KEEP_SIZE, _FALLOC_PUNCH_HOLE = 1, 2
_NOTE_AFTER = 256  # writes


class LayeredDisk:
    """From what the simulator says of an open disk. Safe to use from several threads."""

    def __init__(self, opened: dict[str, Any], note_written: Callable[[list[Range]], None], *, writes: bool) -> None:
        self.size = int(opened["size"])
        self.writes = writes
        self._note_written = note_written
        self._read_seconds = float(opened["read_seconds"])
        self._lock = threading.Lock()
        self._fresh = Extents()
        self._count = 0
        self._files: list[int | None] = []
        self._held: list[Extents | None] = []
        for number, layer in enumerate(opened["layers"]):
            upper = writes and number == len(opened["layers"]) - 1
            path = Path(layer["path"])
            there = path.exists()
            self._files.append(os.open(path, os.O_RDWR if upper else os.O_RDONLY) if there else None)
            self._held.append(None if layer["base"] else Extents(map(tuple, layer["held"])))

    def read(self, offset: int, length: int) -> bytes | bytearray:
        if self._read_seconds:
            threading.Event().wait(self._read_seconds)
        if len(self._files) == 1:
            return self._read_file(0, offset, offset + length)
        out = bytearray(length)
        left = Extents([(offset, offset + length)])
        for number in range(len(self._files) - 1, -1, -1):
            held = self._held[number]
            rest = Extents()
            for first, end in left:
                pieces = [(first, end)] if held is None else list(held.within(first, end))
                for here, there in pieces:
                    out[here - offset : there - offset] = self._read_file(number, here, there)
                if held is not None:
                    for here, there in held.gaps(first, end):
                        rest.add(here, there)
            left = rest
        return out

    def _read_file(self, number: int, first: int, end: int) -> bytes:
        file = self._files[number]
        data = b"" if file is None else os.pread(file, end - first, first)
        return data if len(data) == end - first else data.ljust(end - first, b"\0")

    def write(self, offset: int, data: bytes | memoryview) -> None:
        file = self._files[-1]
        assert file is not None
        os.pwrite(file, data, offset)
        self._written(offset, offset + len(data))

    def zero(self, offset: int, length: int) -> None:
        file = self._files[-1]
        assert file is not None
        _punch(file, offset, length)
        self._written(offset, offset + length)

    def _written(self, first: int, end: int) -> None:
        with self._lock:
            self._fresh.add(first, end)
            self._count += 1
            held = self._held[-1]
            if held is not None:
                held.add(first, end)
            full = self._count >= _NOTE_AFTER
        if full:
            self.flush()

    def flush(self) -> None:
        """What was written is known to the simulator."""
        with self._lock:
            ranges, self._fresh, self._count = list(self._fresh), Extents(), 0
        self._note_written(ranges)

    def data(self, first: int, end: int) -> Iterator[Range]:
        """What may be something else than zero, in order."""
        found = Extents()
        for file, held in zip(self._files, self._held, strict=True):
            if held is not None:
                for here, there in held.within(first, end):
                    found.add(here, there)
            elif file is not None:
                for here, there in data_ranges(file, first, end):
                    found.add(here, there)
        return iter(found)


def _punch(file: int, offset: int, length: int) -> None:
    """Zeros that take no space."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    mode = _FALLOC_PUNCH_HOLE | _FALLOC_KEEP_SIZE
    if libc.fallocate(file, mode, ctypes.c_longlong(offset), ctypes.c_longlong(length)) != 0:
        for at in range(offset, offset + length, 1 << 20):
            os.pwrite(file, bytes(min(1 << 20, offset + length - at)), at)
