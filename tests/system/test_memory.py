"""Memory is bounded by workers and containers, not by the disk: 512 MiB for any."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
BOUND_BYTES = 512 * MIB
PIECE_BYTES = 32 * MIB


def write_image(path: Path, mib: int) -> None:
    """So much noise in pieces, each after a hole of its size."""
    rng = np.random.default_rng(mib)
    with path.open("wb") as image:
        for number in range(mib * MIB // PIECE_BYTES):
            image.seek(PIECE_BYTES * (2 * number + 1))
            image.write(rng.bytes(PIECE_BYTES))
        image.truncate(image.tell() + PIECE_BYTES)


def most_memory(*arguments: str | Path) -> int:
    """What a process of its own took."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.system.back_up_and_restore", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def same(one: Path, other: Path) -> bool:
    return subprocess.run(["cmp", "-s", str(one), str(other)], check=False).returncode == 0


def test_a_backup_and_a_restore_of_more_than_the_bound_stay_within_it(tmp_path: Path) -> None:
    assert_bounded(tmp_path, 704)


@pytest.mark.torture
def test_nor_does_it_grow_with_gigabytes(tmp_path: Path) -> None:
    assert_bounded(tmp_path, 4096)


def assert_bounded(directory: Path, mib: int) -> None:
    """Peaks of one size differ by what happened to be on its way, so they are held against the bound only."""
    image, back = directory / "disk.raw", directory / "back.raw"
    write_image(image, mib)
    backup = most_memory("back-up", directory / "repository", directory / "index", image)
    restore = most_memory("restore", directory / "repository", directory / "index", back)
    assert max(backup, restore) <= BOUND_BYTES, (backup, restore)
    assert same(image, back)


def test_nor_from_a_repository_so_far_away_that_as_much_is_on_its_way_as_may_be(tmp_path: Path) -> None:
    """Runs as large as they get, of which 16 fill the bytes that may be held; and 64 at once, which fill them too."""
    repository, index, back = tmp_path / "repository", tmp_path / "index", tmp_path / "back.raw"
    whole, parts = tmp_path / "whole.raw", tmp_path / "parts.raw"
    write_image(whole, 704)
    most_memory("back-up", repository, index, whole)
    assert most_memory("restore", repository, index, back, "16") <= BOUND_BYTES
    assert same(whole, back)
    back.unlink()
    write_parts(whole, parts)
    most_memory("back-up", repository, index, parts)
    assert most_memory("restore", repository, index, back, "64") <= BOUND_BYTES
    assert same(parts, back)


def write_parts(whole: Path, parts: Path) -> None:
    """Every third stretch of 1.5 MiB, so far apart that each is a run of its own."""
    stretch = 3 * MIB // 2
    with whole.open("rb") as source, parts.open("wb") as image:
        for at in range(0, whole.stat().st_size, 3 * stretch):
            source.seek(at)
            image.seek(at)
            image.write(source.read(stretch))
        image.truncate(whole.stat().st_size)
