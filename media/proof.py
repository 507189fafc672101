"""Proof of what is called unchanged: some of it is read all the same, and compared with what the parent says.

A disk is cells of 2 MiB (a sixteenth of a segment). Each cell has a place in a walk, a keyed permutation, so that no
guest knows when its turn is; the walk goes round once in so many days, whatever a run's share of it is. What lies next
to the changes is read as well: there a tracker that errs is most likely to err.

The state is two numbers and a time in the recovery point's disk: it needs no service and no index.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ext.cut import BLOCK_BYTES
from media.extents import Extent
from media.keys import hkdf

CELLS_IN_SEGMENT = 16
LEAST_CELLS = 8  # of a run, however short a time passed since the last
SHARE = 0.001  # of cells that are wrong: the probability of having met one of them is told

_ROUND = 1 << 64
_INFO = b"ingot proof/1"
_NEIGHBOURS_OF_WALK = 4  # one cell beside a change for so many of the walk
_AT_ONCE = 1 << 20  # cells whose places are computed together
_DAY_SECONDS = 86400.0

Cells = NDArray[np.int64]


@dataclass(frozen=True)
class Proof:
    """What a recovery point says of one of its disks. Places are of 2^64, round the clock.

    `whole`: all of it was read. Else the cells with places in [first, end) were. `walked` is the part of the walk since
    all of it was read, 1 at most.
    """

    whole: bool
    first: int
    end: int
    walked: float
    time: str

    def covers(self, place: int) -> bool:
        """Whether the cell with this place was compared with the disk, or read from it, for that point."""
        return self.whole or (place - self.first) % _ROUND < (self.end - self.first) % _ROUND

    def json(self) -> dict[str, Any]:
        return {
            "whole": self.whole,
            "first": f"{self.first:016x}",
            "end": f"{self.end:016x}",
            "walked": self.walked,
            "time": self.time,
        }


def proof_of(said: Any) -> Proof | None:
    """From `Proof.json`; None where nothing is said, or nothing that can be read."""
    try:
        first, end = int(said["first"], 16), int(said["end"], 16)
        walked = float(said["walked"])
        if not (0 <= first < _ROUND and 0 <= end < _ROUND and 0 <= walked <= 1):
            return None
        return Proof(bool(said["whole"]), first, end, walked, str(said["time"]))
    except (KeyError, ValueError, TypeError):
        return None


class Walk:
    """The order of a disk's cells."""

    def __init__(self, fingerprint_key: bytes, disk_key: str, cell_count: int) -> None:
        raw = hkdf(fingerprint_key, _INFO + disk_key.encode(), 24)
        self._keys = np.frombuffer(raw, "<u8")
        self.cell_count = cell_count

    def places(self, cells: Cells) -> NDArray[np.uint64]:
        """Where in the walk these cells are: a keyed permutation of 2^64."""
        x = cells.astype(np.uint64)
        for key in self._keys:
            x ^= key
            x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            x ^= x >> np.uint64(31)
        return x

    def between(self, first: int, span: int) -> Cells:
        """The cells whose turn is in [first, first + span), ascending; all where that is the way round."""
        found = []
        for start in range(0, self.cell_count, _AT_ONCE):
            cells = np.arange(start, min(start + _AT_ONCE, self.cell_count), dtype=np.int64)
            if span < _ROUND:
                cells = cells[self.places(cells) - np.uint64(first) < np.uint64(span)]
            found.append(cells)
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def beside(self, changes: list[Extent], cell_bytes: int, most: int, salt: int) -> Cells:
        """Cells at the edges of what changed and next to them, `most` at most, ascending."""
        if not changes or most <= 0:
            return np.empty(0, np.int64)
        firsts = np.array([extent.offset for extent in changes], np.int64) // cell_bytes
        lasts = np.array([extent.end - 1 for extent in changes], np.int64) // cell_bytes
        near = np.unique(np.concatenate([firsts - 1, firsts, lasts, lasts + 1]))
        near = near[(near >= 0) & (near < self.cell_count)]
        order = np.argsort(self.places(near) ^ np.uint64(salt), kind="stable")
        return np.sort(near[order[:most]])


@dataclass(frozen=True)
class Turn:
    """What one run is to read."""

    cells: Cells
    proof: Proof


def turn(walk: Walk, before: Proof | None, days: int, now: str, changes: list[Extent], cell_bytes: int) -> Turn:
    """The next part of the walk, for as long as the last is ago, and what lies beside the changes."""
    first = 0 if before is None else before.end
    elapsed = 0.0 if before is None else max(0.0, _seconds(now) - _seconds(before.time))
    share = max(elapsed / (days * _DAY_SECONDS), LEAST_CELLS / max(1, walk.cell_count))
    span = _ROUND if share >= 1 else int(share * _ROUND)
    due = walk.between(first, span)
    most = max(LEAST_CELLS, len(due)) // _NEIGHBOURS_OF_WALK
    beside = walk.beside(changes, cell_bytes, most, first)
    if span == _ROUND:
        return Turn(due, whole(before, now))
    walked = min(1.0, (0.0 if before is None else before.walked) + share)
    return Turn(np.union1d(due, beside), Proof(False, first, (first + span) % _ROUND, walked, now))


def whole(before: Proof | None, now: str) -> Proof:
    """All of the disk was read, or all of what is called unchanged was compared: the walk goes on where it was."""
    place = 0 if before is None else before.end
    return Proof(True, place, place, 0.0, now)


def found_with(cell_count: float, share: float = SHARE) -> float:
    """The probability that among so many cells drawn at random one is wrong, where so large a share of all is."""
    return float(1 - (1 - share) ** cell_count)


def _seconds(time: str) -> float:
    try:
        return datetime.fromisoformat(time).timestamp()
    except ValueError:
        return 0.0


def blocks_of(extents: list[Extent], base: int, length: int) -> NDArray[np.bool_]:
    """Which blocks of [base, base + length) any of the extents touches."""
    touched = np.zeros(-(-length // BLOCK_BYTES), np.bool_)
    for extent in extents:
        touched[(extent.offset - base) // BLOCK_BYTES : -(-(extent.end - base) // BLOCK_BYTES)] = True
    return touched
