"""Several writers over the real code, overtaken, cheated and stopped at any call: whatever is committed restores.

A failure prints the steps and the command that repeats them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.schedules.schedule import run, shortest
from tests.schedules.store import Fate
from tests.schedules.test_removed_rules import PINNED

ROOT = Path(__file__).parents[2]
SEEDS = 250
FIRST = int(os.environ.get("TORTURE_FIRST", "100000"))
COUNT = int(os.environ.get("TORTURE_SEEDS", "20000"))


def assert_nothing_lost(seeds: range) -> Counter[str]:
    """Run them; what happened in them all."""
    totals: Counter[str] = Counter()
    for seed in seeds:
        ended = run(seed)
        assert ended.loss is None, shortest(seed).story()
        totals += ended.totals
    return totals


def test_after_every_step_each_committed_point_restores() -> None:
    totals = assert_nothing_lost(range(SEEDS))
    kinds = {"backup", "resumed", "undertaker", "collector", "restore", "mark", "points"}
    assert all(totals[met] for met in {fate.name for fate in Fate} | kinds), totals


@pytest.mark.torture
@pytest.mark.timeout(0)
def test_nor_is_anything_lost_in_many_more_schedules() -> None:
    """TORTURE_SEEDS schedules from the seed TORTURE_FIRST on."""
    totals: Counter[str] = Counter()
    for first in range(FIRST, FIRST + COUNT, 1000):
        totals += assert_nothing_lost(range(first, min(first + 1000, FIRST + COUNT)))
        print(f"seeds {FIRST} to {min(first + 1000, FIRST + COUNT) - 1}: {dict(totals)}", flush=True)


@pytest.mark.parametrize("rule", [None, *PINNED])
def test_restoring_what_could_have_changed_finds_what_restoring_everything_finds(rule: str | None) -> None:
    """The test of the oracle: after the same step, the same loss, or none."""
    restored, restored_always = 0, 0
    for seed in (1, 2, 5 if rule is None else PINNED[rule][0]):
        some, always = run(seed, rule), run(seed, rule, every_step=True)
        assert (str(some.loss), some.trace) == (str(always.loss), always.trace)
        restored, restored_always = restored + some.totals["restored"], restored_always + always.totals["restored"]
    assert restored < restored_always


def test_a_schedule_repeats_itself_in_any_process() -> None:
    told = set()
    for hash_seed in ("1", "2", "3"):
        command = [sys.executable, "-m", "tests.schedules", "6"]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
        told.add(done.stdout)
    (steps,) = told
    assert len(steps.splitlines()) > 20
