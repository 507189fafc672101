"""The simulator's time: the machine's, until somebody moves it or stops it."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta


class SimClock:
    """Sessions and dates go by it. Waiting for updates does not: that takes the machine's time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ahead = 0.0
        self._stopped: float | None = None

    def seconds(self) -> float:
        """Since the epoch."""
        with self._lock:
            return (time.time() if self._stopped is None else self._stopped) + self._ahead

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds(), UTC).replace(microsecond=0)

    def advance(self, seconds: float) -> None:
        """Time passes."""
        with self._lock:
            self._ahead += seconds

    def stop(self) -> None:
        """From now on it moves with `advance` only."""
        with self._lock:
            self._stopped = time.time()

    def later(self, seconds: float) -> datetime:
        return self.now() + timedelta(seconds=seconds)
