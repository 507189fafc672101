"""Whole backups and restores, Ingot and the peers interleaved in the same run.

python -m bench.engine [--families NAME,...] [--subjects NAME,...] [--corpora DIR] [--work DIR] [--runs N] > rows.jsonl

One run is, family by family (`bench.families`), phase by phase and for every subject in turn: a machine's first backup,
the same image again, one day later, another machine, and restores of the first and the last. Images, and the repository
before a restore, are in the page cache before anything is timed, and what the one before wrote is on the disk before
the next begins. Every restore is compared with its image.
"""

import argparse
import filecmp
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench import changes
from bench.corpora import families_named
from bench.families import FAMILIES, Family
from bench.measure import Usage
from bench.ours import Ingot
from bench.peers import Peer, found, remove, size_bytes
from bench.rows import Row, write
from bench.run import say

WINDOW_BYTES = 16 << 20
FREE_BYTES = 3 << 30
Subject = Peer | Ingot
CHANGED_SHARE, CHANGED_EXTENT_BYTES, SEED = 0.01, 256 << 10, 7


def warm(*files: Path) -> None:
    """Write what is dirty, have as much free memory as a run takes, and bring `files` into the page cache.

    A virtual machine whose host takes free memory back pays for it at the first touch, ten times a normal page fault:
    writing 2 GiB to a file took 0.5 s or 6 s by that alone. A process that touches 3 GiB and ends leaves them free.
    """
    os.sync()
    subprocess.run((sys.executable, "-c", f"import numpy; numpy.ones({FREE_BYTES}, numpy.uint8)"), check=True)
    for path in files:
        with path.open("rb") as file:
            while file.read(WINDOW_BYTES):
                continue


def rows(benchmark: str, subject: str, usage: Usage, run: int) -> Iterator[Row]:
    """What one run of a program took."""
    yield Row(benchmark, subject, "wall", usage.wall_seconds, "s", run)
    yield Row(benchmark, subject, "cpu", usage.user_seconds + usage.sys_seconds, "s", run)
    yield Row(benchmark, subject, "memory", usage.max_rss_bytes / 2**20, "MiB", run)


def backups(family: str, subjects: list[Subject], phases: list[tuple[str, Path]], work: Path, run: int) -> None:
    """All backups of one run."""
    for subject in subjects:
        remove(_repo(work, subject))
        subject.init(_repo(work, subject))
    for name, image in phases:
        for subject in subjects:
            warm(image)
            usage = subject.backup(image, _repo(work, subject), name)
            for row in rows(f"{family}: {name}", subject.subject, usage, run):
                write(row)
            stored = size_bytes(_repo(work, subject)) / 2**20
            write(Row(f"{family}: {name}", subject.subject, "repository", stored, "MiB", run))


def restores(family: str, subjects: list[Subject], name: str, image: Path, work: Path, run: int) -> None:
    """One backup restored by every subject, and compared."""
    for subject in subjects:
        to = work / "restored"
        shutil.rmtree(to, ignore_errors=True)
        to.mkdir(parents=True)
        warm(*(file for file in _repo(work, subject).rglob("*") if file.is_file()))
        usage = subject.restore(name, _repo(work, subject), to)
        for row in rows(f"{family}: restore of {name}", subject.subject, usage, run):
            write(row)
        restored = next(file for file in to.rglob("*") if file.is_file())
        if not filecmp.cmp(restored, image, shallow=False):
            raise SystemExit(f"{subject.subject}: restore of {name} differs from {image}")
        shutil.rmtree(to)


def ours_alone(family: str, ingot: Ingot, base: Path, work: Path, run: int) -> None:
    """What no peer does: changed extents, and the index made again."""
    repo = _repo(work, ingot)
    changed = work / "changed.raw"
    extents = changes.changed(base, changed, CHANGED_SHARE, CHANGED_EXTENT_BYTES, SEED + run)
    _, told = ingot.backup_told(base, repo, "base")
    listed = changed.with_suffix(".changed.json")
    listed.write_text(json.dumps(json.loads(listed.read_text()) | {"since": told["recovery_point"]}))
    warm(changed)
    usage, told = ingot.backup_told(changed, repo, "changed", "--changed-extents", listed)
    benchmark = f"{family}: changed extents, 1 % in 256 KiB"
    for row in rows(benchmark, ingot.subject, usage, run):
        write(row)
    amplification = told["read_bytes"] / sum(length for _, length in extents)
    write(Row(benchmark, ingot.subject, "read", amplification, "x changed", run))
    restores(family, [ingot], "changed", changed, work, run)
    changed.unlink()
    for row in rows(f"{family}: index made again", ingot.subject, ingot.rebuild(repo), run):
        write(row)


def _repo(work: Path, subject: Subject) -> Path:
    return work / subject.subject.replace(" ", "-").replace(",", "")


def measure_all(subjects: list[Subject], family: Family, corpora: Path, work: Path, runs: int) -> None:
    """Every phase, `runs` times; rows go to stdout."""
    work.mkdir(parents=True, exist_ok=True)
    first, day, other = family.images(corpora)
    phases = [("first", first), ("again", first), ("next day", day), ("other machine", other)]
    for run in range(runs):
        say(f"{family.name}: run {run + 1} of {runs}")
        backups(family.name, subjects, phases, work, run)
        restores(family.name, subjects, "first", first, work, run)
        restores(family.name, subjects, "other machine", other, work, run)
        for subject in subjects:
            if isinstance(subject, Ingot):
                ours_alone(family.name, subject, other, work, run)
    for subject in subjects:
        remove(_repo(work, subject))


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.engine", description="Whole backups beside the peers.")
    parser.add_argument("--corpora", type=Path, default=Path("bench/corpora"), metavar="DIR")
    parser.add_argument("--work", type=Path, default=Path("bench/results/work"), metavar="DIR")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--families", type=families_named, default=list(FAMILIES), metavar="NAME,...")
    parser.add_argument("--subjects", default="", metavar="NAME,...", help="only these, like ingot,restic")
    asked = parser.parse_args()
    wanted = set(asked.subjects.split(",")) - {""}
    everybody: list[Subject] = [Ingot(), *found()]
    subjects = [s for s in everybody if not wanted or s.subject in wanted]
    for subject in subjects:
        say(f"{subject.subject}: {subject.version()}")
    for family in asked.families:
        if missing := [image for image in family.images(asked.corpora) if not image.with_suffix(".json").exists()]:
            say(f"{family.name}: left out, {missing[0]} was not made")
            continue
        measure_all(subjects, family, asked.corpora, asked.work, asked.runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
