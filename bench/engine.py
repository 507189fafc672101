"""Whole backups and restores, Ingot and the peers interleaved in the same run.

python -m bench.engine --corpora DIR --work DIR [--runs N] [--synthetic] [--subjects NAME,...] > results.jsonl

One run is, phase by phase and for every subject in turn: a system's first backup, the same image again, one day
later, another machine, and restores of the first and the last. Images are in the page cache before
anything is timed, and what the one before wrote is on the disk before the next begins. Every restore is compared with
its image.
"""

import argparse
import filecmp
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from bench import changes
from bench.measure import Usage
from bench.ours import Ingot
from bench.peers import Peer, found, remove, size_bytes
from bench.rows import Row, write
from bench.run import say

WINDOW_BYTES = 16 << 20
CHANGED_SHARE, CHANGED_EXTENT_BYTES, SEED = 0.01, 256 << 10, 7


def warm(image: Path) -> None:
    """Write what is dirty and bring an image into the page cache."""
    os.sync()
    with image.open("rb") as file:
        while file.read(WINDOW_BYTES):
            continue


def rows(benchmark: str, subject: str, usage: Usage, run: int) -> Iterator[Row]:
    """What one run of a program took."""
    yield Row(benchmark, subject, "wall", usage.wall_seconds, "s", run)
    yield Row(benchmark, subject, "cpu", usage.user_seconds + usage.sys_seconds, "s", run)
    yield Row(benchmark, subject, "memory", usage.max_rss_bytes / 2**20, "MiB", run)


def backups(subjects: list[Peer | Ingot], phases: list[tuple[str, Path]], work: Path, run: int) -> None:
    """All backups of one run."""
    for subject in subjects:
        remove(_repo(work, subject))
        subject.init(_repo(work, subject))
    for name, image in phases:
        for subject in subjects:
            warm(image)
            usage = subject.backup(image, _repo(work, subject), name)
            for row in rows(name, subject.subject, usage, run):
                write(row)
            stored = size_bytes(_repo(work, subject)) / 2**20
            write(Row(name, subject.subject, "repository", stored, "MiB", run))


def restores(subjects: list[Peer | Ingot], name: str, image: Path, work: Path, run: int) -> None:
    """One backup restored by every subject, and compared."""
    for subject in subjects:
        to = work / "restored"
        shutil.rmtree(to, ignore_errors=True)
        to.mkdir(parents=True)
        warm(image)
        usage = subject.restore(name, _repo(work, subject), to)
        for row in rows(f"restore of {name}", subject.subject, usage, run):
            write(row)
        restored = next(file for file in to.rglob("*") if file.is_file())
        if not filecmp.cmp(restored, image, shallow=False):
            raise SystemExit(f"{subject.subject}: restore of {name} differs from {image}")
        shutil.rmtree(to)


def ours_alone(ingot: Ingot, base: Path, work: Path, run: int) -> None:
    """What no peer does: changed extents, and the index made again."""
    repo = _repo(work, ingot)
    changed = work / "changed.raw"
    extents = changes.changed(base, changed, CHANGED_SHARE, CHANGED_EXTENT_BYTES, SEED + run)
    _, told = ingot.backup_told(base, repo, "base")
    listed = changed.with_suffix(".changed.json")
    listed.write_text(json.dumps(json.loads(listed.read_text()) | {"since": told["recovery_point"]}))
    warm(changed)
    usage, told = ingot.backup_told(changed, repo, "changed", "--changed-extents", listed)
    benchmark = "changed extents, 1 % in 256 KiB"
    for row in rows(benchmark, ingot.subject, usage, run):
        write(row)
    amplification = told["read_bytes"] / sum(length for _, length in extents)
    write(Row(benchmark, ingot.subject, "read", amplification, "x changed", run))
    restores([ingot], "changed", changed, work, run)
    changed.unlink()
    for row in rows("index made again", ingot.subject, ingot.rebuild(repo), run):
        write(row)


def _repo(work: Path, subject: Peer | Ingot) -> Path:
    return work / subject.subject.replace(" ", "-").replace(",", "")


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.engine", description="Whole backups beside the peers.")
    parser.add_argument("--corpora", type=Path, default=Path("bench/corpora"), metavar="DIR")
    parser.add_argument("--work", type=Path, default=Path("bench/results/work"), metavar="DIR")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--synthetic", action="store_true", help="the synthetic corpora")
    parser.add_argument("--subjects", default="", help="only these, like ingot,restic")
    asked = parser.parse_args()
    first, day, other = (
        ("synthetic-0", "synthetic-1", "synthetic-other") if asked.synthetic else ("system-0", "system-1", "other")
    )
    image_by_name = {name: asked.corpora / f"{name}.raw" for name in (first, day, other)}
    wanted = set(asked.subjects.split(",")) - {""}
    ingot = Ingot()
    subjects: list[Peer | Ingot] = [s for s in (ingot, *found()) if not wanted or s.subject in wanted]
    asked.work.mkdir(parents=True, exist_ok=True)
    for subject in subjects:
        say(f"{subject.subject}: {subject.version()}")
    phases = [("first", first), ("again", first), ("next day", day), ("other machine", other)]
    for run in range(asked.runs):
        say(f"run {run + 1} of {asked.runs}")
        backups(subjects, [(phase, image_by_name[name]) for phase, name in phases], asked.work, run)
        restores(subjects, "first", image_by_name[first], asked.work, run)
        restores(subjects, "other machine", image_by_name[other], asked.work, run)
        if ingot in subjects:
            ours_alone(ingot, image_by_name[other], asked.work, run)
    for subject in subjects:
        remove(_repo(asked.work, subject))
    return 0


if __name__ == "__main__":
    sys.exit(main())
