"""Fifty days: does the newest recovery point restore as the first one did, and how does the repository grow?

python -m bench.incrementals IMAGE [--days N] [--work DIR] > rows.jsonl

Each day rewrites 1 % of the used bytes in pieces of 256 KiB, at random, and is backed up with its changed extents.
"""

import argparse
import filecmp
import json
import sys
from pathlib import Path

import numpy as np

from bench import changes
from bench.engine import rows, warm
from bench.measure import Usage
from bench.ours import Ingot
from bench.peers import PASSWORD, remove, size_bytes
from bench.rows import Row, write
from bench.run import say
from ingot.embedded import open_repo
from media.key_slots import Passphrase
from media.recovery_point import list_points, read_point
from media.tree import TreeReader

SHARE, EXTENT_BYTES, SEED = 0.01, 256 << 10, 50


def containers_of(repo: Path, point: str) -> int:
    """How many containers hold a recovery point's data."""
    opened = open_repo(str(repo), Passphrase(PASSWORD))
    tree = TreeReader(opened.containers, opened.pool.keys.page)
    cids: set[int] = set()
    for disk in read_point(opened.pool, list_points(opened.pool).find(point)).disks:
        for segment, ref in tree.leaves(disk.root):
            cids.update(tree.leaf(ref, segment).places.cids.tolist())
    return len(cids)


def days(ingot: Ingot, image: Path, repo: Path, count: int) -> list[Usage]:
    """Change and back up, day by day; the repository's growth a day goes to stdout."""
    places = changes.used_places(image, EXTENT_BYTES)
    rng = np.random.default_rng(SEED)
    listed = image.with_suffix(".changed.json")
    point, before, usages = ingot.point(repo, "day 0"), size_bytes(repo), []
    for day in range(1, count + 1):
        extents = changes.rewrite(image, places, SHARE, EXTENT_BYTES, rng)
        changes.write_extents(listed, image.stat().st_size, extents)
        listed.write_text(json.dumps(json.loads(listed.read_text()) | {"since": point}))
        usage, told = ingot.backup_told(image, repo, f"day {day}", "--changed-extents", listed)
        usages.append(usage)
        point = told["recovery_point"]
        after = size_bytes(repo)
        changed = sum(length for _, length in extents)
        write(Row("incrementals", "a day's backup", "wall", usage.wall_seconds, "s", day))
        write(Row("incrementals", "a day's backup", "changed", changed / 2**20, "MiB", day))
        write(Row("incrementals", "a day's backup", "growth", (after - before) / 2**20, "MiB", day))
        before = after
    return usages


def restored(ingot: Ingot, repo: Path, name: str, benchmark: str, work: Path) -> Path:
    """A day restored, with what that took."""
    to = work / "restored"
    (to / "disk.raw").unlink(missing_ok=True)
    to.mkdir(exist_ok=True)
    warm(*(file for file in repo.rglob("*") if file.is_file()))
    usage = ingot.restore(name, repo, to)
    for row in rows(benchmark, f"restore of {name}", usage, 0):
        write(row)
    write(Row(benchmark, f"restore of {name}", "read", usage.read_bytes / 2**20, "MiB", 0))
    touched = containers_of(repo, ingot.point(repo, name))
    write(Row(benchmark, f"restore of {name}", "containers", touched, "", 0))
    return to / "disk.raw"


def measure_all(image: Path, count: int, work: Path) -> None:
    """All of it."""
    ingot, repo, today = Ingot(), work / "incrementals", work / "today.raw"
    work.mkdir(parents=True, exist_ok=True)
    remove(repo)
    ingot.init(repo)
    changes.copy_sparse(image, today)
    ingot.backup(today, repo, "day 0")
    write(Row("incrementals", "day 0", "repository", size_bytes(repo) / 2**20, "MiB", 0))
    say(f"incrementals: {count} days")
    days(ingot, today, repo, count)
    write(Row("incrementals", f"day {count}", "repository", size_bytes(repo) / 2**20, "MiB", 0))
    benchmark = f"restore after {count} incrementals"
    for _ in range(2):  # twice each, in turn
        for name, expected in (("day 0", image), (f"day {count}", today)):
            if not filecmp.cmp(restored(ingot, repo, name, benchmark, work), expected, shallow=False):
                raise SystemExit(f"{name} differs from {expected}")
    for made in (today, today.with_suffix(".changed.json"), work / "restored" / "disk.raw"):
        made.unlink()
    remove(repo)


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.incrementals", description="Many incrementals.")
    parser.add_argument("image", type=Path)
    parser.add_argument("--days", type=int, default=50)
    parser.add_argument("--work", type=Path, default=Path("bench/results/work"), metavar="DIR")
    asked = parser.parse_args()
    measure_all(asked.image, asked.days, asked.work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
