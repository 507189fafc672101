"""Seeds into schedules: which actors, how many, and what to say when one loses."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import nullcontext
from typing import NamedTuple

from tests.schedules.actors import Disks, back_up, bury, collect, mark, restore
from tests.schedules.oracle import Loss
from tests.schedules.removed_rules import REMOVED, WEAKENED
from tests.schedules.world import Actor, World


class Ended(NamedTuple):
    """How a schedule ended."""

    seed: int
    without: str | None
    loss: Loss | None
    trace: list[str]
    totals: Counter[str]

    def story(self) -> str:
        """For whoever has to find out why."""
        again = f"python -m tests.schedules {self.seed}" + (f" --without {self.without}" if self.without else "")
        return "\n".join([f"{again}: {self.loss}; the {len(self.trace)} steps were:", *self.trace])


def run(seed: int, without: str | None = None, *, every_step: bool = False, most: int | None = None) -> Ended:
    """One schedule, with all rules or without one; `most` cuts the processes off that would be started later.

    What is neither a loss nor expected of a process is raised.
    """
    rng = random.Random(f"actors {seed}")
    disks = Disks(rng)
    actors: list[tuple[float, str, Actor]] = [
        (5, "backup", lambda process: back_up(process, disks)),
        (rng.choice((1, 2, 6)), "undertaker", bury),
        (1, "restore", restore),
        (1, "mark", mark),
        (rng.choice((0, 1)), "collector", collect),
    ]
    count = rng.randint(3, 12)
    world = World(seed, actors, count if most is None else min(most, count), every_step=every_step)
    loss = None
    with nullcontext() if without is None else (REMOVED | WEAKENED)[without]():
        try:
            world.run()
        except Loss as found:
            loss = found
    failed = sum(isinstance(attempt.told, str) for attempt in world.oracle.attempts)
    told = {"points": len(world.oracle.made()), "restored": world.oracle.restores, "failed": failed}
    totals = world.totals + Counter(told)
    return Ended(seed, without, loss, world.trace, totals)


def shortest(seed: int, without: str | None = None) -> Ended:
    """The same seed with as few processes as lose."""
    for most in range(1, 100):
        ended = run(seed, without, most=most)
        if ended.loss is not None:
            return ended
    return run(seed, without)
