"""Images made from a seed alone: for quick runs, and where no operating system can be installed.

An image is files laid one after another, each at the next multiple of 4 KiB, and zeros to its end. About a
third of the bytes is packed data, the rest text and database pages. Three images belong together:

- `synthetic-0`: its own files and shared ones in seeded order, a bit more than half of the disk;
- `synthetic-1`: the same disk one day later: pages rewritten in place, a file deleted, files added;
- `synthetic-other`: the shared files in another order, so at other 4 KiB offsets, between files of its own.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from bench import content
from bench.changes import copy_sparse

ALIGN_BYTES = 4 << 10
SMALLEST_BYTES, LARGEST_BYTES = 1 << 10, 16 << 20
USED_SHARE = 0.54
SHARED_SHARE = 0.5  # of the used bytes, found in both systems
DAY_SHARE = 0.01  # of the used bytes, rewritten and added each


AnyFile = TypeVar("AnyFile")


@dataclass(frozen=True)
class File:
    """One file's content, told by its seed: the same file on two images has the same bytes."""

    kind: str
    size_bytes: int
    seed: int

    def read(self) -> bytes:
        rng = np.random.default_rng(self.seed)
        if self.kind == "pages":
            return content.pages(rng, -(-self.size_bytes // content.PAGE_BYTES))[: self.size_bytes]
        return (content.text if self.kind == "text" else content.packed)(rng, self.size_bytes)


def make_first(image: Path, size_bytes: int, seed: int = 0) -> None:
    """Write `synthetic-0`; it appears only when complete."""
    used = int(size_bytes * USED_SHARE)
    files = _shared(used, seed) + _files(used - int(used * SHARED_SHARE), seed * 10 + 1)
    lay_out(image, size_bytes, (file.read() for file in shuffled(files, seed * 10 + 2)))


def make_other(image: Path, size_bytes: int, seed: int = 0) -> None:
    """Write `synthetic-other`: another system that shares half of its files with `synthetic-0`."""
    used = int(size_bytes * USED_SHARE)
    files = _shared(used, seed) + _files(used - int(used * SHARED_SHARE), seed * 10 + 3)
    lay_out(image, size_bytes, (file.read() for file in shuffled(files, seed * 10 + 4)))


def make_next_day(before: Path, image: Path, seed: int = 0) -> None:
    """Write `synthetic-1`: what a day changes on the disk `before`."""
    rng = np.random.default_rng(seed * 10 + 5)
    size_bytes = before.stat().st_size
    used = int(size_bytes * USED_SHARE)
    part = image.with_suffix(".part")
    try:
        copy_sparse(before, part)
        with part.open("r+b") as disk:
            _rewrite_places(disk.fileno(), used, rng)
            at = used + (size_bytes - used) // 4 // ALIGN_BYTES * ALIGN_BYTES
            for file in _files(int(used * DAY_SHARE), seed * 10 + 6):
                os.pwrite(disk.fileno(), file.read(), at)
                at += -(-file.size_bytes // ALIGN_BYTES) * ALIGN_BYTES
        part.rename(image)
    finally:
        part.unlink(missing_ok=True)


def _rewrite_places(disk: int, used: int, rng: np.random.Generator) -> None:
    """Rewrite clustered pages of 8 KiB in place, and zero one run as a trimmed deletion."""
    left = int(used * DAY_SHARE)
    while left > 0:
        run_bytes = min(left, content.PAGE_BYTES * int(rng.integers(1, 33)))
        run_bytes = max(content.PAGE_BYTES, run_bytes)
        at = int(rng.integers(0, used - run_bytes)) // ALIGN_BYTES * ALIGN_BYTES
        os.pwrite(disk, content.pages(rng, run_bytes // content.PAGE_BYTES), at)
        left -= run_bytes
    deleted = int(used * DAY_SHARE / 4) // ALIGN_BYTES * ALIGN_BYTES
    os.pwrite(disk, bytes(deleted), int(rng.integers(0, used - deleted)) // ALIGN_BYTES * ALIGN_BYTES)


def _shared(used: int, seed: int) -> list[File]:
    return _files(int(used * SHARED_SHARE), seed * 10 + 7)


def _files(total_bytes: int, seed: int) -> list[File]:
    """Files of log-normal size, most of them small, that add up to `total_bytes`."""
    rng = np.random.default_rng(seed)
    files: list[File] = []
    left = total_bytes
    while left > 0:
        size = int(min(left, np.clip(rng.lognormal(10.5, 2.2), SMALLEST_BYTES, LARGEST_BYTES)))
        kind = ("text", "text", "packed", "pages")[int(rng.integers(0, 4))]
        files.append(File(kind, size, int(rng.integers(0, 1 << 62))))
        left -= -(-size // ALIGN_BYTES) * ALIGN_BYTES
    return files


def shuffled(files: list[AnyFile], seed: int) -> list[AnyFile]:
    """The files in a seeded order."""
    return [files[place] for place in np.random.default_rng(seed).permutation(len(files)).tolist()]


def lay_out(image: Path, size_bytes: int, files: Iterable[bytes]) -> None:
    """Write files one after another, each at the next multiple of 4 KiB; the image appears only when complete."""
    part = image.with_suffix(".part")
    try:
        with part.open("wb") as disk:
            disk.truncate(size_bytes)
            at = 0
            for file in files:
                disk.seek(at)
                disk.write(file)
                at += -(-len(file) // ALIGN_BYTES) * ALIGN_BYTES
        part.rename(image)
    finally:
        part.unlink(missing_ok=True)
