"""All benchmarks: `python -m bench [--quick]`. Corpora are made once; rows go to bench/results, tables to stdout.

Families whose makers are not installed, or need root, are left out; with none of the real systems, or with `--quick`,
seeded disks stand for them.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TextIO

from bench import rows
from bench.families import BY_NAME, FAMILIES
from bench.run import say

HERE = Path(__file__).parent
CORPORA, RESULTS = HERE / "corpora", HERE / "results"

Section = tuple[str, ...]  # a module of bench, and its arguments


def families(quick: bool) -> list[str]:
    """What can be made here."""
    found = [f.name for f in FAMILIES if f.name != "synthetic" and not f.missing(os.geteuid())]
    return found if "ext4" in found and not quick else ["synthetic"]


def sections(names: list[str], runs: int, quick: bool) -> list[Section]:
    """What is run, in this order."""
    first = str(BY_NAME[names[0]].images(CORPORA)[0])
    engine = ("bench.engine", "--corpora", str(CORPORA), "--families", ",".join(names), "--runs", str(runs))
    if quick:
        return [
            ("bench.kernels", first, "--runs", "3"),
            (*engine, "--subjects", "ingot,restic,borg"),
            ("bench.index", "--keys", "3000000"),
            ("bench.rebuild", "--gigabytes", "10"),
            ("bench.incrementals", first, "--days", "10"),
            ("bench.mount", "--runs", "1"),
        ]
    return [
        ("bench.kernels", first),
        engine,
        ("bench.index",),
        ("bench.rebuild",),
        ("bench.s3_requests",),
        ("bench.incrementals", first),
        ("bench.s3_restore", first, "--runs", "1"),
        ("bench.mount",),
        ("bench.services", "--disks", first, "--delay-ms", "150"),
    ]


def run_all(chosen: list[Section], lines: TextIO) -> bool:
    """Run them one after another; False when one failed, and the others ran all the same."""
    good = True
    for section in chosen:
        say(" ".join(section))
        done = subprocess.run((sys.executable, "-m", *section), stdout=lines, check=False)
        if done.returncode != 0:
            say(f"{section[0]}: ended with {done.returncode}")
            good = False
    return good


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="All benchmarks.")
    parser.add_argument("--runs", type=int, default=1, help="of the whole backups; the others say how often they run")
    parser.add_argument("--quick", action="store_true", help="seeded disks and smaller numbers, under ten minutes")
    asked = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    result = RESULTS / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.jsonl"
    names = families(asked.quick)
    for family in FAMILIES:
        if not asked.quick and (missing := family.missing(os.geteuid())):
            say(f"{family.name}: left out, needs {', '.join(missing)}")
    subprocess.run((sys.executable, "-m", "bench.corpora", "--to", CORPORA, "--families", ",".join(names)), check=True)
    with result.open("w") as lines:
        good = run_all(sections(names, asked.runs, asked.quick), lines)
    say(f"rows: {result}")
    with result.open() as lines:
        sys.stdout.write(rows.report(rows.read(lines)))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
