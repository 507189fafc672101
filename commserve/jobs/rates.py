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

    The tightest limit is divided first, and what it keeps its jobs from taking elsewhere is left to others there. At
    least 1 byte per second: 0 would mean no limit.
    """
    left = {name: limit for name, limit in limits.items() if limit}
    rates = dict.fromkeys((stream.job_id for stream in streams), 0)
    waiting = [stream for stream in streams if any(name in left for name in stream.under)]
    while waiting:
        weights: dict[str, int] = defaultdict(int)
        for stream in waiting:
            for name in stream.under:
                weights[name] += max(1, stream.weight)
        tightest = min((name for name in left if name in weights), key=lambda name: left[name] / weights[name])
        whole, weight = left[tightest], weights[tightest]
        for stream in waiting:
            if tightest in stream.under:
                rates[stream.job_id] = share = max(1, whole * max(1, stream.weight) // weight)
                for name in left.keys() & set(stream.under):
                    left[name] = max(0, left[name] - share)
        waiting = [stream for stream in waiting if tightest not in stream.under]
    return rates
