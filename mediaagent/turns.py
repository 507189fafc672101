"""Restore streams take turns: none of them lasts long, and who has fewest goes first.

A stream ends after a window of a disk (256 MiB), and its reader asks for the next one at once; whoever was refused asks
again some seconds later, and would find all taken again and again. So who asks gives way to jobs that wait and have
fewer streams, or as many and wait for longer. No job and no agent may have all: streams that are read slowly last long.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mediaagent.access import Grant
from proto.channels import Caller
from proto.faults import PeerBusy
from runtime.clock import Clock

_WAIT_SECONDS = 10.0  # who did not ask again for so long waits no more: pauses between tries are shorter


@dataclass(frozen=True)
class Most:
    """Streams at once: each holds up to three runs of 8 MiB."""

    all: int = 12
    of_a_caller: int = 9
    of_a_job: int = 6


@dataclass
class _Wait:
    caller: Caller
    since: float
    asked_at: float


class Turns:
    """Safe to use from several threads."""

    def __init__(self, clock: Clock, most: Most | None = None) -> None:
        self._clock = clock
        self._most = most or Most()
        self._of_caller: Counter[Caller] = Counter()
        self._of_job: Counter[str] = Counter()
        self._waiting: dict[str, _Wait] = {}  # by job
        self._lock = threading.Lock()

    @contextmanager
    def one(self, grant: Grant) -> Iterator[None]:
        """Around a stream. Raises PeerBusy, after which one may ask again."""
        job, caller = grant.ticket.job, grant.caller
        with self._lock:
            self._take(job, caller)
        try:
            yield
        finally:
            with self._lock:
                self._of_caller -= Counter([caller])
                self._of_job -= Counter([job])

    def _take(self, job: str, caller: Caller) -> None:
        now = self._clock.monotonic_seconds()
        self._waiting = {key: wait for key, wait in self._waiting.items() if now - wait.asked_at < _WAIT_SECONDS}
        if not self._may(job, caller, now):
            self._waiting.setdefault(job, _Wait(caller, now, now)).asked_at = now
            raise PeerBusy(f"job {job}: others restore as well; it has {self._of_job[job]} streams")
        self._waiting.pop(job, None)
        self._of_caller[caller] += 1
        self._of_job[job] += 1

    def _may(self, job: str, caller: Caller, now: float) -> bool:
        most, free = self._most, self._most.all - self._of_caller.total()
        if not free or self._of_caller[caller] >= most.of_a_caller or self._of_job[job] >= most.of_a_job:
            return False
        since = self._waiting[job].since if job in self._waiting else now
        first = [
            other
            for other, wait in self._waiting.items()
            if self._of_caller[wait.caller] < most.of_a_caller
            and (self._of_job[other], wait.since) < (self._of_job[job], since)
        ]
        return len(first) < free
