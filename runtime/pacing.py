"""So many bytes a second and no more, by the time of day: a bucket that may go into debt.

Whoever spends waits until all debts of before are paid, and then owes what it spends. So an amount of any size is spent
at once, and over time the rate holds, for all threads together.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from runtime.clock import Waiting

DAY_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Hours:
    """A rate for a part of the day, which may go past midnight; None is no limit."""

    start_second: int
    end_second: int
    bytes_per_second: float | None

    def hold(self, second: float) -> bool:
        """Whether the second of the day is in it; a part that ends where it starts is the whole day."""
        return (second - self.start_second) % DAY_SECONDS < (
            (self.end_second - self.start_second) % DAY_SECONDS or DAY_SECONDS
        )


@dataclass(frozen=True)
class Rates:
    """Bytes a second: of the first part of the day that holds, otherwise the usual."""

    usual: float | None
    hours: tuple[Hours, ...] = field(default=())

    def at(self, second: float) -> float | None:
        """In bytes a second at this second of the day; None is no limit."""
        return next((hours.bytes_per_second for hours in self.hours if hours.hold(second)), self.usual)


class Pace:
    """Shared by all who together keep to it."""

    def __init__(self, rates: Rates, clock: Waiting) -> None:
        self._rates = rates
        self._clock = clock
        self._free_at = clock.monotonic_seconds()
        self._lock = threading.Lock()

    def spend(self, byte_count: int) -> None:
        """Return when so many bytes may be sent."""
        wait = self._take(byte_count)
        if wait > 0:
            self._clock.sleep(wait)

    def owe(self, byte_count: int) -> None:
        """So many bytes came, more than was known before: who spends next waits for them."""
        self._take(byte_count)

    def _take(self, byte_count: int) -> float:
        """Add to the debt; seconds until what was owed before is paid."""
        with self._lock:
            now = self._clock.monotonic_seconds()
            rate = self._rates.at(self._clock.seconds_of_day())
            if rate is None:
                self._free_at = now
                return 0.0
            begin = max(now, self._free_at)
            self._free_at = begin + byte_count / rate
            return begin - now
