"""What a restore fetches ahead of its openers: many requests in flight, bounded in bytes.

Two kinds of threads meet here. Fetchers wait for the repository: they turn a container's chunks into runs (which takes
its footer), and runs into bytes. Openers, one a core, turn bytes into a disk. A planner puts containers in.

How many requests are in flight adapts itself. It starts at what keeps a local disk busy, and doubles, up to the bound,
when all openers wait, all that may be asked for is on its way, and as many requests as are in flight at once have come
since it last grew: latency is met with depth, and where there is none no memory is spent on it. One opener that finds
nothing for a moment, or a fetcher that is yet to ask, shows nothing.

No more fetchers work than requests may be in flight: memory that a thread had stays with it, a run of 8 MiB or two.

Nothing here reads or writes; a `Fetching` is state under one lock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from media.faults import DamageFault
from media.restore_plan import FETCH_BYTES, Chunks, Run

MOST_REQUESTS = 64
MOST_BYTES = 16 * FETCH_BYTES  # asked for, fetched or being opened; a larger run is let through alone
_CONTAINERS_WAITING = 64  # what the planner may be ahead: the next window is planned before this one is fetched
_RUNS_WAITING = 64


@dataclass(frozen=True)
class Fetched:
    """A run, and its bytes or why there are none."""

    run: Run
    raw: bytes | None
    fault: DamageFault | None = None


class Fetching:
    """Shared by one planner, any number of fetchers and `openers` openers.

    The planner calls `put` and at last `planned_all`; a fetcher `request` with its number, from 0, and what it got, a
    container or a run, it answers with `planned` or `fetched`; an opener `take`, and `opened` when it is done with it.
    Each of them hears by None, or False, that there is no more.
    """

    def __init__(self, openers: int, most_requests: int = MOST_REQUESTS, most_bytes: int = MOST_BYTES) -> None:
        self._openers = openers
        self._most_requests = most_requests
        self._most_bytes = most_bytes
        self._depth = min(2 * openers, most_requests)
        lock = threading.Lock()
        self._for_planner = threading.Condition(lock)
        self._for_fetchers = threading.Condition(lock)
        self._for_growth = threading.Condition(lock)  # where the fetchers wait that are too many
        self._for_openers = threading.Condition(lock)
        self._containers: deque[Chunks] = deque()
        self._runs: deque[Run] = deque()
        self._ready: deque[Fetched] = deque()
        self._planning = True
        self._stopped = False
        self._in_flight = 0
        self._held_bytes = 0
        self._waiting = 0  # openers that have nothing to do
        self._came = 0  # runs since the depth last grew

    def put(self, containers: Iterable[Chunks]) -> bool:
        """Have these fetched, each the chunks of one container. Whether to go on."""
        for chunks in containers:
            with self._for_planner:
                while len(self._containers) >= _CONTAINERS_WAITING and not self._stopped:
                    self._for_planner.wait()
                if self._stopped:
                    return False
                self._containers.append(chunks)
                self._for_fetchers.notify()
        return True

    def planned_all(self) -> None:
        """Nothing more is put."""
        with self._for_planner:
            self._planning = False
            self._tell_all()

    def request(self, fetcher: int) -> Chunks | Run | None:
        """What fetcher number `fetcher` is to ask the repository for next."""
        with self._for_fetchers:
            while True:
                if self._stopped or self._nothing_left_to_ask():
                    return None
                if fetcher >= self._depth:
                    self._for_growth.wait()
                elif (item := self._next()) is not None:
                    self._in_flight += 1
                    self._grow()
                    self._for_fetchers.notify()  # whoever takes wakes the next
                    return item
                else:
                    self._for_fetchers.wait()

    def _next(self) -> Chunks | Run | None:
        if self._in_flight + len(self._ready) >= self._depth:
            return None
        if self._runs and (not self._held_bytes or self._held_bytes + self._runs[0].length <= self._most_bytes):
            run = self._runs.popleft()
            self._held_bytes += run.length
            return run
        if self._containers and len(self._runs) < _RUNS_WAITING:
            self._for_planner.notify()
            return self._containers.popleft()
        return None

    def planned(self, runs: Iterable[Run]) -> None:
        """A container is these runs."""
        with self._for_fetchers:
            self._in_flight -= 1
            self._runs.extend(runs)
            self._for_fetchers.notify()
            self._tell_if_ended()

    def fetched(self, fetched: Fetched) -> None:
        """A run is here."""
        with self._for_openers:
            self._in_flight -= 1
            self._came += 1
            self._ready.append(fetched)
            self._for_openers.notify()
            self._tell_if_ended()

    def take(self) -> Fetched | None:
        """What to open next."""
        with self._for_openers:
            while True:
                if self._stopped:
                    return None
                if self._ready:
                    self._for_fetchers.notify()
                    return self._ready.popleft()
                if self._ended():
                    return None
                self._waiting += 1
                self._grow()
                self._for_openers.wait()
                self._waiting -= 1

    def _grow(self) -> None:
        latency = self._waiting == self._openers and self._in_flight >= self._depth
        if latency and self._came >= self._depth and self._depth < self._most_requests:
            self._came = 0
            self._depth = min(2 * self._depth, self._most_requests)
            self._for_growth.notify_all()
            self._for_fetchers.notify()

    def opened(self, fetched: Fetched) -> None:
        """The bytes of a run are no longer needed."""
        with self._for_fetchers:
            self._held_bytes -= fetched.run.length
            self._for_fetchers.notify()

    def stop(self) -> None:
        """Have everybody who waits here, or comes, go home."""
        with self._for_planner:
            self._stopped = True
            self._tell_all()

    def _nothing_left_to_ask(self) -> bool:
        return not (self._planning or self._containers or self._runs or self._in_flight)

    def _ended(self) -> bool:
        return self._nothing_left_to_ask() and not self._ready

    def _tell_if_ended(self) -> None:
        if self._nothing_left_to_ask():
            self._tell_all()

    def _tell_all(self) -> None:
        for condition in (self._for_planner, self._for_fetchers, self._for_growth, self._for_openers):
            condition.notify_all()
