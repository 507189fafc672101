"""How fast each running job may go: limits belong to plans, agents and pools, and are divided among what runs there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Stream:
    """A running job: its weight is its streams, and `under` names what limits it."""

    job_id: str
    weight: int
    under: tuple[str, ...]


def divide(streams: Sequence[Stream], limits: Mapping[str, int]) -> dict[str, int]:
    """Bytes per second for each job, 0 where nothing limits it. The shares under a limit never exceed it together.

    At least 1 byte per second: 0 would mean no limit.
    """
    total: dict[str, int] = defaultdict(int)
    for stream in streams:
        for name in stream.under:
            total[name] += max(1, stream.weight)
    rates = {}
    for stream in streams:
        shares = [limits[name] * max(1, stream.weight) // total[name] for name in stream.under if limits.get(name)]
        rates[stream.job_id] = max(1, min(shares)) if shares else 0
    return rates
