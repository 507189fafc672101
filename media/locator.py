"""Where chunks are that need not be stored.

This session's own, and others' that an index hints at and a footer confirms.
"""

from __future__ import annotations

import numpy as np

from media.container import Footer
from media.container_reader import ContainerReader
from media.known_chunks import Fingerprints, KnownChunks, Places, keys
from media.record import Type


class FreshChunks:
    """This session's chunks that are not yet durable: fingerprint -> place.

    When their container is durable they move to `KnownChunks`, so this stays as small as the open containers. Two
    workers may store one chunk at the same instant; that costs its space and nothing else.
    """

    def __init__(self, known: KnownChunks, containers: ContainerReader) -> None:
        self.places: dict[bytes, tuple[int, int]] = {}
        self._known = known
        self._containers = containers

    def durable(self, cid: int, footer: Footer) -> None:
        """A container of this session lies in the repository: others may use its chunks from now on (I1)."""
        self._containers.remember(cid, footer)
        if len(footer) and footer["type"][0] == Type.CHUNK:
            fingerprints = np.ascontiguousarray(footer["fingerprint"])
            self._known.record(
                cid, fingerprints
            )  # first known, then no longer fresh: a lookup between finds it in either
            for key in keys(fingerprints):
                self.places.pop(key, None)


class Locator:
    """Finds chunks that are stored already, and answers only with places that hold (W9)."""

    def __init__(self, fresh: FreshChunks, known: KnownChunks, containers: ContainerReader) -> None:
        self._fresh = fresh.places
        self._known = known
        self._containers = containers

    def locate(self, fingerprints: Fingerprints) -> Places:
        """Places of this session's own chunks, or confirmed places of others'; else misses."""
        fresh = [self._fresh.get(key) for key in keys(fingerprints)]
        places = self._containers.confirm(self._known.locate(fingerprints), fingerprints)
        for row, place in enumerate(fresh):
            if place is not None:
                places.cids[row], places.slots[row] = place
        return places
