"""Memory for containers that arrive: a bounded number of buffers for all sessions together.

Who finds none waits, and its stream is not read meanwhile: that is the back-pressure. A buffer that holds a part of a
container whose stream broke is lent: kept for the stream's return, and taken away when it is needed, the oldest first.
No VSA has all of them: a container that arrives slowly holds one for long.
"""

from __future__ import annotations

import mmap
import threading
from collections import Counter
from collections.abc import Callable

from proto.channels import Caller
from proto.faults import PeerBusy


class Buffers:
    """Safe to use from several threads. Memory is taken when it is first touched.

    Each begins at a page: only such memory is written past the page cache (`media.repository.posix`).
    """

    def __init__(self, count: int, size: int, wait_seconds: float) -> None:
        self.size = size
        self._wait_seconds = wait_seconds
        self._free: list[memoryview] = []
        self._unmade = count
        self._most_of_one = max(1, count * 3 // 4)
        self._used: Counter[Caller] = Counter()
        self._lent: dict[int, tuple[memoryview, Caller, Callable[[], None]]] = {}
        self._next = 0
        self._changed = threading.Condition()

    def take(self, caller: Caller) -> memoryview:
        """A buffer. Raises PeerBusy when there was none for too long."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._may(caller), self._wait_seconds):
                raise PeerBusy(f"no buffer for a container was free for {self._wait_seconds:g} s")
            self._used[caller] += 1
            if self._free:
                return self._free.pop()
            if self._unmade:
                self._unmade -= 1
                return memoryview(mmap.mmap(-1, self.size))
            buffer, _, lost = self._lent.pop(next(iter(self._lent)))
        lost()
        return buffer

    def _may(self, caller: Caller) -> bool:
        return self._used[caller] < self._most_of_one and bool(self._free or self._unmade or self._lent)

    def give(self, buffer: memoryview, caller: Caller) -> None:
        """It is used no more."""
        with self._changed:
            self._free.append(buffer)
            self._unused(caller)

    def lend(self, buffer: memoryview, caller: Caller, lost: Callable[[], None]) -> int:
        """It is not used now; `lost` is called when somebody else took it. The number is for `reclaim`."""
        with self._changed:
            self._next += 1
            self._lent[self._next] = buffer, caller, lost
            self._unused(caller)
            return self._next

    def _unused(self, caller: Caller) -> None:
        self._used -= Counter([caller])
        self._changed.notify_all()  # who waits longest may have as many as it may

    def reclaim(self, number: int) -> bool:
        """Use what was lent again. False when somebody else took it."""
        with self._changed:
            lent = self._lent.pop(number, None)
            if lent is not None:
                self._used[lent[1]] += 1
            return lent is not None
