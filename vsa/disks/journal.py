"""What a restore has written into a file so far, in lines beside it, so that the next run goes on from there.

    <XXH3-64 of the rest, 16 digits> {"boot": ...}          a run began
    <...> [[offset, length], ...]                           these bytes are written
    <...> "durable"                                         what the lines above say is on the disk

Written bytes are with the operating system: they outlive the process, however it ends, but not the machine. So a line
holds for as long as the machine runs (its boot id is the same), and beyond when it was made durable, which happens once
a minute. A line is appended after the bytes that it speaks of were written; what a torn line said is written again.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import xxhash

from media.extents import Extent, normal
from runtime.clock import Clock

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NOTE_BYTES = 64 << 20  # written between two lines: what is written again after the process was killed
_DURABLE_SECONDS = 60.0
_DURABLE = "durable"


def boot_id() -> str:
    """Names the time since this machine started; another one each time where the kernel does not tell."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return os.urandom(16).hex()


class Journal:
    """The journal of the open file `data_fd`. Safe to use from several threads.

    `done` is what the file held when the journal was opened. Raises OSError.
    """

    def __init__(self, path: Path, data_fd: int, clock: Clock, boot: str, note_bytes: int = _NOTE_BYTES) -> None:
        self._data_fd = data_fd
        self._clock = clock
        self._note_bytes = note_bytes
        self._pending: list[Extent] = []
        self._pending_bytes = 0
        self._lock = threading.Lock()
        self._appending = threading.Lock()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            self.done = self._read(boot)
            self.begin(boot)
        except BaseException:
            os.close(self._fd)
            raise
        self.is_empty = not self.done
        self._durable_at = clock.monotonic_seconds()

    def _read(self, boot: str) -> list[Extent]:
        """What holds of what is written; what is torn is cut off."""
        held: list[Extent] = []  # for good
        since: list[Extent] = []  # for as long as the machine runs
        running, whole = "", 0
        with open(self._fd, "rb", closefd=False) as file:
            for line in file:
                said = _said(line)
                if said is None:
                    break
                whole += len(line)
                if said == _DURABLE:
                    held, since = held + since, []
                elif isinstance(said, dict):
                    if said["boot"] != running:
                        running, since = said["boot"], []
                else:
                    since += [Extent(*each) for each in said]
        os.ftruncate(self._fd, whole)
        return normal(held + since if running == boot else held)

    def begin(self, boot: str) -> None:
        """A run begins. Raises OSError."""
        self._append({"boot": boot})

    def forget(self) -> None:
        """The file is begun anew. Raises OSError."""
        self.done = []
        self.is_empty = True
        os.ftruncate(self._fd, 0)

    def note(self, extent: Extent) -> None:
        """These bytes were written. Raises OSError."""
        with self._lock:
            self._pending.append(extent)
            self._pending_bytes += extent.length
            if self._pending_bytes < self._note_bytes:
                return
        self.flush()

    def flush(self) -> None:
        """Append what was noted. Raises OSError."""
        with self._appending:
            with self._lock:
                pending, self._pending, self._pending_bytes = self._pending, [], 0
            if pending:
                self._append(normal(pending))
                self.is_empty = False
            if self._clock.monotonic_seconds() - self._durable_at >= _DURABLE_SECONDS:
                os.fdatasync(self._data_fd)
                self._append(_DURABLE)
                os.fdatasync(self._fd)
                self._durable_at = self._clock.monotonic_seconds()

    def close(self) -> None:
        os.close(self._fd)

    def _append(self, what: Any) -> None:
        text = json.dumps(what).encode()
        os.write(self._fd, b"%016x %s\n" % (xxhash.xxh3_64_intdigest(text), text))


def _said(line: bytes) -> Any:
    """What a line says; None when it is not whole."""
    check, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or check != b"%016x" % xxhash.xxh3_64_intdigest(text):
        return None
    return json.loads(text)
