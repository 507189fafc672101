"""Indexes that are stale, that lie, and that were told of containers before those were durable."""

from __future__ import annotations

import random
from collections.abc import Iterable

import numpy as np

from media.container import decode_footer, decode_trailer
from media.ids import cid_of, cid_of_name, session_name
from media.known_chunks import Fingerprints, MemoryKnownChunks, Places, keys
from tests.schedules.store import Store


class BadIndex:
    """Answers rightly but for a share of `lies`; forgets, and fails to forget, as often."""

    def __init__(self, store: Store, rng: random.Random, lies: float) -> None:
        self._store = store
        self._rng = rng
        self._lies = lies
        self._honest = MemoryKnownChunks()
        self._early: dict[bytes, tuple[int, int]] = {}

    def put_begins(self, name: str, body: bytes) -> None:
        """Hear of a container whose put has begun, and perhaps never ends: the cruellest hint is nearly right."""
        cid = cid_of_name(name)
        if cid is None or not self._happens():
            return
        trailer = decode_trailer(memoryview(body), cid, len(body))
        raw = body[trailer.footer_offset : trailer.footer_offset + trailer.footer_len]
        footer = decode_footer(raw, trailer, cid)
        for slot, key in enumerate(keys(footer["fingerprint"])):
            self._early[key] = (cid, slot)

    def locate(self, fingerprints: Fingerprints) -> Places:
        places = self._honest.locate(fingerprints)
        for row, key in enumerate(keys(fingerprints)):
            if key in self._early:
                places.cids[row], places.slots[row] = self._early[key]
            elif self._happens():
                cid, slot = self._lie(int(places.cids[row]), int(places.slots[row]))
                places.cids[row], places.slots[row] = np.uint64(cid), np.uint32(slot)
        return places

    def record(self, cid: int, fingerprints: Fingerprints) -> None:
        if not self._happens():
            self._honest.record(cid, fingerprints)

    def forget(self, cids: Iterable[int]) -> None:
        if not self._happens():
            self._honest.forget(cids)

    def containers(self) -> set[int]:
        known = self._honest.containers()
        return known | {self._somewhere()} if self._happens() else known

    def _happens(self) -> bool:
        return self._rng.random() < self._lies

    def _lie(self, cid: int, slot: int) -> tuple[int, int]:
        """A wrong slot, a place of another container, one of a container that is gone or not there yet, a miss."""
        match self._rng.randrange(4):
            case 0:
                return cid, slot ^ 1
            case 1:
                return self._somewhere(), self._rng.randrange(4)
            case 2:
                gone = [gone for name in self._store.deleted if (gone := cid_of_name(name)) is not None]
                return (self._rng.choice(gone) if gone else 0), slot
            case _:
                return 0, 0

    def _somewhere(self) -> int:
        """A container of a session that has begun, whether it is there, will be there, or never."""
        sids = [sid for sid in range(1, 64) if self._store.has(session_name(sid))] or [1]
        return cid_of(self._rng.choice(sids), self._rng.randrange(6))
