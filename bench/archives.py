"""Disks of data that no compressor helps with: archives of gzip and zstd, and pictures. From a seed alone.

Files are laid one after another at multiples of 4 KiB as in `bench.synthetic`, and two disks share half of theirs.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zstandard

from bench import content
from bench.changes import copy_sparse
from bench.synthetic import ALIGN_BYTES, SHARED_SHARE, lay_out, shuffled

USED_SHARE = 0.66
DAY_SHARE = 0.02  # of the used bytes, added, and as many replaced
SMALLEST_BYTES, LARGEST_BYTES = 64 << 10, 24 << 20


@dataclass(frozen=True)
class File:
    """One file's content, told by its seed."""

    kind: str
    size_bytes: int
    seed: int

    def read(self) -> bytes:
        rng = np.random.default_rng(self.seed)
        if self.kind == "picture":  # entropy-coded bytes as JPEG stuffs them
            return content.packed(rng, self.size_bytes).replace(b"\xff", b"\xff\x00")[: self.size_bytes]
        text = content.text(rng, 4 * self.size_bytes)
        squeezed = zlib.compress(text, 1) if self.kind == "gzip" else zstandard.compress(text, 3)
        return squeezed[: self.size_bytes]


def make_first(image: Path, size_bytes: int, seed: int = 20) -> None:
    """Write `archives-0`; it appears only when complete."""
    _make(image, size_bytes, seed, 1)


def make_other(image: Path, size_bytes: int, seed: int = 20) -> None:
    """Write `archives-other`, half the files of which are also in `archives-0`."""
    _make(image, size_bytes, seed, 2)


def make_next_day(before: Path, image: Path, seed: int = 20) -> None:
    """Write `archives-1`: what a day changes on the disk `before`."""
    part = image.with_suffix(".part")
    rng = np.random.default_rng(seed * 10 + 5)
    used = int(before.stat().st_size * USED_SHARE)
    try:
        copy_sparse(before, part)
        with part.open("r+b") as disk:
            at = used // ALIGN_BYTES * ALIGN_BYTES + LARGEST_BYTES
            for file in _files(int(used * DAY_SHARE), seed * 10 + 6):
                disk.seek(at)
                at += -(-disk.write(file.read()) // ALIGN_BYTES) * ALIGN_BYTES
            for file in _files(int(used * DAY_SHARE), seed * 10 + 7):
                disk.seek(int(rng.integers(0, used - LARGEST_BYTES)) // ALIGN_BYTES * ALIGN_BYTES)
                disk.write(file.read())
        part.rename(image)
    finally:
        part.unlink(missing_ok=True)


def _make(image: Path, size_bytes: int, seed: int, own: int) -> None:
    used = int(size_bytes * USED_SHARE)
    shared = int(used * SHARED_SHARE)
    files = [*_files(shared, seed * 10), *_files(used - shared, seed * 10 + own)]
    lay_out(image, size_bytes, (file.read() for file in shuffled(files, seed * 10 + 2 + own)))


def _files(total_bytes: int, seed: int) -> Iterator[File]:
    """Files of log-normal size that add up to `total_bytes`."""
    rng = np.random.default_rng(seed)
    left = total_bytes
    while left > 0:
        size = int(min(left, np.clip(rng.lognormal(14.0, 1.2), SMALLEST_BYTES, LARGEST_BYTES)))
        yield File(("gzip", "zstd", "picture")[int(rng.integers(0, 3))], size, int(rng.integers(0, 1 << 62)))
        left -= -(-size // ALIGN_BYTES) * ALIGN_BYTES
