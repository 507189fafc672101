"""Time comes in through the constructor: a `Clock` is the only place where the program asks what time it is."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time for people, monotonic time for waiting. Nothing that keeps data safe depends on either."""

    def now(self) -> str:
        """UTC, `2026-11-23T05:06:38.123456Z`."""

    def monotonic_seconds(self) -> float:
        """Seconds since some moment; never goes back."""


class Waiting(Clock, Protocol):
    """A clock by which one can also wait: for back-off and pacing."""

    def seconds_of_day(self) -> float:
        """Since midnight by the clock on the wall here, 0 to 86400."""

    def sleep(self, seconds: float) -> None:
        """Return when so many seconds have passed."""


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> str:
        return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def monotonic_seconds(self) -> float:
        return time.monotonic()

    def seconds_of_day(self) -> float:
        here = datetime.now().astimezone()
        return here.hour * 3600 + here.minute * 60 + here.second

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
