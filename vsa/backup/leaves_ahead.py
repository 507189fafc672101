"""The parent's leaves, fetched before they are asked for: asked for alone, one costs a way there and back.

Leaves are asked for in bunches, and a few bunches ahead of the one in use; what is behind is dropped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from media.page import Leaf
from runtime.tasks import Threads

BUNCH = 16  # leaves, about 400 KB: the first of them are there soon
BUNCHES_AHEAD = 8  # 4 GiB of disk
_THREADS = 4

Bunch = dict[int, Leaf | None]


class LeavesAhead:
    """For one disk. Safe to use from several threads. `fetch(segments)` asks for leaves."""

    def __init__(self, fetch: Callable[[list[int]], Bunch], executor: ThreadPoolExecutor) -> None:
        self._fetch = fetch
        self._executor = executor
        self._order: NDArray[np.int64] = np.empty(0, np.int64)
        self._bunches: dict[int, Future[Bunch]] = {}
        self._lock = threading.Lock()

    def expect(self, segments: NDArray[np.int64]) -> None:
        """These are asked for next, ascending."""
        with self._lock:
            self._order = segments
            self._bunches = {}
            for number in range(BUNCHES_AHEAD):
                self._begin(number)

    def get(self, segment: int) -> Leaf | None:
        """The leaf of a segment; what was not expected is asked for alone."""
        with self._lock:
            at = int(np.searchsorted(self._order, segment))
            if at == len(self._order) or self._order[at] != segment:
                bunch = None
            else:
                number = at // BUNCH
                for ahead in range(number, number + 1 + BUNCHES_AHEAD):
                    self._begin(ahead)
                bunch = self._bunches[number]
                for behind in [each for each in self._bunches if each < number - 1]:
                    del self._bunches[behind]
        return self._fetch([segment])[segment] if bunch is None else bunch.result()[segment]

    def _begin(self, number: int) -> None:
        segments = self._order[number * BUNCH : (number + 1) * BUNCH].tolist()
        if segments and number not in self._bunches:
            self._bunches[number] = self._executor.submit(self._fetch, segments)


def executor() -> ThreadPoolExecutor:
    """Threads that fetch for all disks of a session."""
    return Threads(_THREADS, thread_name_prefix="leaves")
