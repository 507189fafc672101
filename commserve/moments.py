"""The present as a `datetime` in UTC, from the clock that came in through the constructor."""

from __future__ import annotations

from datetime import UTC, datetime

from runtime.clock import Clock


def present(clock: Clock) -> datetime:
    """Now, aware, in UTC."""
    return datetime.fromisoformat(clock.now()).astimezone(UTC)


def text_of(moment: datetime) -> str:
    """`2026-11-23T05:06:38.123456Z`, as everywhere."""
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
