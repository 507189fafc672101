"""Slows down whoever guesses passwords: by name, in the memory of one process.

A try counts before its password is looked at: guesses at the same time are as many as guesses one after the other.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from commserve.faults import TooManyAttempts
from runtime.clock import Clock

FREE_ATTEMPTS = 5
_WAIT_SECONDS = 60.0
_MOST_NAMES = 10_000


class Attempts:
    """Tries by name, since a password was right. After FREE_ATTEMPTS, one more a minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._tried: dict[str, tuple[int, float]] = {}

    @contextmanager
    def counted(self, name: str) -> Iterator[None]:
        """Around one try, which ends well where the password is right. Raises TooManyAttempts."""
        self._count(name)
        yield
        with self._lock:
            self._tried.pop(name, None)

    def _count(self, name: str) -> None:
        now = self._clock.monotonic_seconds()
        with self._lock:
            count, last = self._tried.get(name, (0, 0.0))
            wait = last + _WAIT_SECONDS - now
            if count >= FREE_ATTEMPTS and wait > 0:
                raise TooManyAttempts(f"{count} tries, and no password was right: again in {wait:.0f} seconds")
            if name not in self._tried and len(self._tried) >= _MOST_NAMES:
                self._tried.clear()
            self._tried[name] = (count + 1, now)
