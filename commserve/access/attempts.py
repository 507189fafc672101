"""Slows down whoever guesses passwords: by name, in the memory of one process.

A try counts before its password is looked at: guesses at the same time are as many as guesses one after the other.
Passwords are looked at one after the other, and few wait: a look takes all cores and 64 MiB, and anybody may ask for
one with a name that was never tried.
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
MOST_AT_ONCE = 8  # tries that are looked at or wait for that; each keeps a thread of those that answer everybody


class Attempts:
    """Tries by name, since a password was right. After FREE_ATTEMPTS, one more a minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._tried: dict[str, tuple[int, float]] = {}
        self._room = threading.BoundedSemaphore(MOST_AT_ONCE)
        self._one = threading.Lock()

    @contextmanager
    def counted(self, name: str) -> Iterator[None]:
        """Around one try, which ends well where the password is right. Raises TooManyAttempts."""
        if not self._room.acquire(blocking=False):
            raise TooManyAttempts(f"{MOST_AT_ONCE} others log in right now: again in some seconds")
        try:
            self._count(name)
            with self._one:
                yield
        finally:
            self._room.release()
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
