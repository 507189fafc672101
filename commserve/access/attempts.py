"""Slows down whoever guesses passwords: by name, in the memory of one process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from commserve.faults import NotAuthenticated, TooManyAttempts
from runtime.clock import Clock

FREE_ATTEMPTS = 5
_WAIT_SECONDS = 60.0
_MOST_NAMES = 10_000


class Attempts:
    """Wrong passwords by name. After FREE_ATTEMPTS, one more a minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: dict[str, tuple[int, float]] = {}

    def check(self, name: str) -> None:
        """Raises TooManyAttempts."""
        with self._lock:
            count, last = self._failed.get(name, (0, 0.0))
        wait = last + _WAIT_SECONDS - self._clock.monotonic_seconds()
        if count >= FREE_ATTEMPTS and wait > 0:
            raise TooManyAttempts(f"{count} wrong passwords: again in {wait:.0f} seconds")

    @contextmanager
    def counted(self, name: str) -> Iterator[None]:
        """Around one try: a wrong password counts, a right one clears the count."""
        try:
            yield
        except NotAuthenticated:
            with self._lock:
                if len(self._failed) >= _MOST_NAMES:
                    self._failed.clear()
                self._failed[name] = (self._failed.get(name, (0, 0.0))[0] + 1, self._clock.monotonic_seconds())
            raise
        with self._lock:
            self._failed.pop(name, None)
