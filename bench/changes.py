"""Changes between images: where two differ, and a copy with a known share changed.

What changed is told as change tracking tells it: extents of whole 64 KiB grains in the form
`{"since": id or null, "disk": 0, "size": bytes, "extents": [{"offset": bytes, "length": bytes}]}`.
`since` stays null here: which backup the changes count from is known to whoever makes the backup.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench import content
from bench.run import CorpusError, run

GRAIN_BYTES = 64 << 10
PAGE_BYTES = 4 << 10
WINDOW_BYTES = 32 << 20

Extent = tuple[int, int]  # offset, length


def copy_sparse(image: Path, out: Path) -> None:
    """A copy of an image in which every zero area is a hole."""
    run(("cp", "--sparse=always", "--reflink=never", image, out))


def used_bytes(image: Path) -> int:
    """How much of an image holds data: the sum of its 4 KiB pages that are not all zero."""
    return int(_used(image, PAGE_BYTES).sum()) * PAGE_BYTES


def changed_extents(before: Path, after: Path, grain_bytes: int = GRAIN_BYTES) -> list[Extent]:
    """Where two images of one size differ, in whole grains, neighbours joined."""
    size = after.stat().st_size
    if before.stat().st_size != size:
        raise CorpusError(f"{after}: {size} bytes, but {before} has {before.stat().st_size}: nothing to compare")
    flags = [
        (old != new).reshape(-1, grain_bytes).any(axis=1)
        for old, new in zip(_windows(before, grain_bytes), _windows(after, grain_bytes), strict=True)
    ]
    return _joined(np.flatnonzero(np.concatenate(flags)), grain_bytes, size)


def write_extents(to: Path, size_bytes: int, extents: list[Extent]) -> None:
    """Write extents as a change tracking file."""
    listed = [{"offset": offset, "length": length} for offset, length in extents]
    to.write_text(json.dumps({"since": None, "disk": 0, "size": size_bytes, "extents": listed}) + "\n")


def changed(image: Path, out: Path, share: float = 0.01, extent: int = 256 << 10, seed: int = 0) -> list[Extent]:
    """Write `out`, a copy of `image` with `share` of its used bytes replaced, and `out` with suffix .changed.json.

    The same arguments give the same bytes; an existing `out` is replaced. Returns the extents.
    """
    part = out.with_name(out.name + ".part")
    try:
        copy_sparse(image, part)
        extents = rewrite(part, used_places(part, extent), share, extent, np.random.default_rng(seed))
        write_extents(out.with_suffix(".changed.json"), image.stat().st_size, extents)
        part.rename(out)
    finally:
        part.unlink(missing_ok=True)
    return extents


def used_places(image: Path, extent: int) -> np.ndarray:
    """The numbers of the aligned pieces of `extent` bytes, whole ones, that hold data."""
    return np.flatnonzero(_used(image, extent)[: image.stat().st_size // extent])


def rewrite(image: Path, places: np.ndarray, share: float, extent: int, rng: np.random.Generator) -> list[Extent]:
    """Replace a share of the used pieces in place, half of them with text and half with packed data."""
    count = max(1, round(share * len(places)))
    chosen = np.sort(rng.choice(places, count, replace=False))
    with image.open("r+b") as file:
        for turn, place in enumerate(chosen.tolist()):
            file.seek(place * extent)
            file.write((content.text, content.packed)[turn % 2](rng, extent))
    return _joined(chosen, extent, image.stat().st_size)


def _windows(image: Path, multiple_bytes: int) -> Iterator[np.ndarray]:
    """The bytes of an image, a window at a time, the last one filled with zeros to a multiple."""
    with image.open("rb") as file:
        while window := file.read(WINDOW_BYTES):
            missing = -len(window) % multiple_bytes
            yield np.frombuffer(window + bytes(missing) if missing else window, dtype=np.uint8)


def _used(image: Path, unit_bytes: int) -> np.ndarray:
    """One flag a unit: does it hold anything but zeros?"""
    if WINDOW_BYTES % unit_bytes:
        raise CorpusError(f"{unit_bytes} bytes: units must divide {WINDOW_BYTES}")
    flags = [window.reshape(-1, unit_bytes).any(axis=1) for window in _windows(image, unit_bytes)]
    return np.concatenate(flags) if flags else np.zeros(0, dtype=bool)


def _joined(units: np.ndarray, unit_bytes: int, size_bytes: int) -> list[Extent]:
    """Ascending unit numbers as extents, neighbours joined, the last one cut at the end of the image."""
    if not len(units):
        return []
    runs = np.split(units, np.flatnonzero(np.diff(units) != 1) + 1)
    spans = [(int(run[0]) * unit_bytes, (int(run[-1]) + 1) * unit_bytes) for run in runs]
    return [(start, min(end, size_bytes) - start) for start, end in spans]
