"""The `KnownChunks` port: where are these fingerprints? A hint, never the truth.

A wrong miss costs space. A wrong hit is caught by W9: a place counts only after the container's footer confirmed it
(`media.footers`), so an index may be stale, lying or lost.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Fingerprints = NDArray[np.uint8]  # shape (n, 32)


class Places(NamedTuple):
    """n places as two columns; cid 0 is a miss."""

    cids: NDArray[np.uint64]
    slots: NDArray[np.uint32]

    @staticmethod
    def unknown(n: int) -> Places:
        """n misses."""
        return Places(np.zeros(n, np.uint64), np.zeros(n, np.uint32))


class KnownChunks(Protocol):
    """Safe to use from several threads at once. Never raises for a fault of its own: it answers with misses."""

    def locate(self, fingerprints: Fingerprints) -> Places:
        """A place for each fingerprint, or a miss."""

    def record(self, cid: int, fingerprints: Fingerprints) -> None:
        """The data container `cid` is durable; its slot i holds fingerprints[i]. Seen by `locate` from now on (I1)."""

    def forget(self, cids: Iterable[int]) -> None:
        """Answer with these containers no more."""

    def containers(self) -> set[int]:
        """The containers recorded so far."""


class MemoryKnownChunks:
    """A dict. For tests, and for a backup whose index cannot be opened."""

    def __init__(self) -> None:
        self._places: dict[bytes, tuple[int, int]] = {}
        self._containers: set[int] = set()
        self._lock = threading.Lock()

    def locate(self, fingerprints: Fingerprints) -> Places:
        places = Places.unknown(len(fingerprints))
        with self._lock:
            for i, key in enumerate(keys(fingerprints)):
                places.cids[i], places.slots[i] = self._places.get(key, (0, 0))
        return places

    def record(self, cid: int, fingerprints: Fingerprints) -> None:
        with self._lock:
            self._containers.add(cid)
            for slot, key in enumerate(keys(fingerprints)):
                self._places.setdefault(key, (cid, slot))

    def forget(self, cids: Iterable[int]) -> None:
        gone = set(cids)
        with self._lock:
            self._containers -= gone
            self._places = {key: place for key, place in self._places.items() if place[0] not in gone}

    def containers(self) -> set[int]:
        with self._lock:
            return set(self._containers)


def keys(fingerprints: Fingerprints) -> list[bytes]:
    """Each fingerprint as bytes."""
    rows: list[Any] = np.ascontiguousarray(fingerprints).view("V32").ravel().tolist()
    return rows
