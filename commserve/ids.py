"""Ids of everything that the CommServe makes: 24 hexadecimal digits, the time in front, so that they sort by age."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime

from runtime import trace

_TIME_DIGITS = 12  # milliseconds until the year 10889


class Ids:
    """New ids. `entropy(n)` gives n random bytes."""

    def __init__(self, entropy: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._entropy = entropy

    def trace(self) -> str:
        """What ties together all that one request or one due time sets off."""
        return self._entropy(trace.BYTES).hex()

    def new(self, now: datetime) -> str:
        """An id that sorts after those of earlier milliseconds."""
        return f"{int(now.timestamp() * 1000):0{_TIME_DIGITS}x}{self._entropy(6).hex()}"
