"""The `KnownChunks` port: where are these fingerprints? A hint, never the truth.

A wrong miss costs space. A wrong hit is caught by W9: a place counts only after the container's footer confirmed it
(`ContainerReader.confirm` in `media.container_reader`), so an index may be stale, lying or lost.
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
    """A dict.

    For tests, and for a backup whose index cannot be opened: then it is bounded, and forgets the oldest first.
    """

    def __init__(self, max_chunks: int | None = None) -> None:
        self._max_chunks = max_chunks
        self._places: dict[bytes, tuple[int, int]] = {}
        self._keys_by_cid: dict[int, list[bytes]] = {}
        self._lock = threading.Lock()

    def locate(self, fingerprints: Fingerprints) -> Places:
        places = Places.unknown(len(fingerprints))
        with self._lock:
            for i, key in enumerate(keys(fingerprints)):
                places.cids[i], places.slots[i] = self._places.get(key, (0, 0))
        return places

    def record(self, cid: int, fingerprints: Fingerprints) -> None:
        with self._lock:
            self._keys_by_cid[cid] = keys(fingerprints)
            for slot, key in enumerate(self._keys_by_cid[cid]):
                self._places.setdefault(key, (cid, slot))
            while self._max_chunks is not None and len(self._places) > self._max_chunks and len(self._keys_by_cid) > 1:
                self._drop(next(iter(self._keys_by_cid)))

    def forget(self, cids: Iterable[int]) -> None:
        with self._lock:
            for cid in cids:
                self._drop(cid)

    def _drop(self, cid: int) -> None:
        for key in self._keys_by_cid.pop(cid, ()):
            if self._places.get(key, (0, 0))[0] == cid:
                del self._places[key]

    def containers(self) -> set[int]:
        with self._lock:
            return set(self._keys_by_cid)


def keys(fingerprints: Fingerprints) -> list[bytes]:
    """Each fingerprint as bytes."""
    rows: list[Any] = np.ascontiguousarray(fingerprints).view("V32").ravel().tolist()
    return rows
