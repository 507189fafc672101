"""Wakes whoever waits for work. A ring is a hint: waiters look into the database in any case, now and then."""

from __future__ import annotations

import threading


class Bell:
    """Rings for everybody who waits at that moment or has not looked since."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._rings = 0

    @property
    def rings(self) -> int:
        """How often it rang: what `wait` is told was seen."""
        return self._rings

    def ring(self) -> None:
        with self._changed:
            self._rings += 1
            self._changed.notify_all()

    def wait(self, seen: int, seconds: float) -> None:
        """Until it rings after `seen`, or so long."""
        with self._changed:
            self._changed.wait_for(lambda: self._rings != seen, seconds)
