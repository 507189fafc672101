"""`python -m tests.schedules SEED [--without W6]`: one schedule and its steps. `--search COUNT`: which seeds lose."""

from __future__ import annotations

import argparse

from tests.schedules.removed_rules import REMOVED, WEAKENED
from tests.schedules.schedule import run, shortest


def main() -> None:
    """Exit code 1 when something was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.schedules", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("--without", choices=sorted(REMOVED | WEAKENED), help="leave a rule of the protocol out")
    parser.add_argument("--search", type=int, metavar="COUNT", help="so many seeds from SEED on: those that lose")
    given = parser.parse_args()
    if given.search is not None:
        for seed in range(given.seed, given.seed + given.search):
            ended = run(seed, given.without)
            if ended.loss is not None:
                print(f"{seed}: step {len(ended.trace)}: {ended.loss}", flush=True)
        return
    ended = run(given.seed, given.without)
    if ended.loss is not None:
        ended = shortest(given.seed, given.without)
    print(ended.story())
    raise SystemExit(ended.loss is not None)


if __name__ == "__main__":
    main()
