"""Changed block tracking of one disk: epochs between snapshots, change ids, and what goes wrong with it in the field.

A change id is `<uuid>/<n>`. Epoch n ends when a snapshot is made, which gets the id of the epoch that ended; what is
asked "since `<uuid>/m` as of the snapshot with n" is everything written in epochs m+1 to n.
"""

from __future__ import annotations

import uuid

from tests.sim.vcenter.extents import Extents

AREAS_MAX = 2000  # of one answer
BLOCK_BYTES = 64 << 10


class TrackingLost(Exception):
    """The question cannot be answered: `reason` as a host words it (noTrack, noEpoch, cannotGetChanges)."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Tracking:
    """`is_active` from the first stun after it was switched on."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._generation = 0
        self.is_active = False
        self.id = ""
        self.epoch = 0
        self._changed: dict[int, Extents] = {}
        self.fails_with: str | None = None  # control: a reason to fail every question with
        self.drops_at_consolidation = False  # known bug: what was written while a snapshot was open is forgotten
        self.drops_beyond: int | None = None  # known bug: nothing is noted beyond this after a resize over it
        self._resized_over = False

    def activate(self) -> None:
        if not self.is_active:
            self.is_active = True
            self.reset()

    def deactivate(self) -> None:
        self.is_active = False
        self._changed = {}

    def reset(self) -> None:
        """Tracking begins anew, under another id."""
        self._generation += 1
        raw = uuid.uuid5(uuid.NAMESPACE_OID, f"{self._seed}/{self._generation}").bytes
        self.id = f"{raw[:8].hex(' ')}-{raw[8:].hex(' ')}"
        self.epoch = 1
        self._changed = {1: Extents()}
        self._resized_over = False

    def change_id(self, epoch: int) -> str:
        return f"{self.id}/{epoch}"

    @property
    def live_change_id(self) -> str | None:
        return self.change_id(self.epoch) if self.is_active else None

    def note(self, first: int, end: int, size: int) -> None:
        if not self.is_active:
            return
        if self._resized_over and self.drops_beyond is not None:
            end = min(end, self.drops_beyond)
        block = BLOCK_BYTES
        self._changed[self.epoch].add(first // block * block, min(size, -(-end // block) * block))

    def snapshot(self) -> str | None:
        """A snapshot is made: the epoch ends. Its change id."""
        if not self.is_active:
            return None
        ended = self.change_id(self.epoch)
        self.epoch += 1
        self._changed[self.epoch] = Extents()
        return ended

    def consolidated(self, since: int) -> None:
        """A snapshot was removed; its layer had been open since the epoch given."""
        if self.drops_at_consolidation:
            for epoch in self._changed:
                if epoch >= since:
                    self._changed[epoch] = Extents()

    def resized(self, before: int, after: int) -> None:
        """Control of the known bug: growing over the mark breaks what lies beyond it."""
        if self.drops_beyond is not None and before <= self.drops_beyond < after:
            self._resized_over = True

    def changed(self, since: str, until: str, size: int) -> Extents:
        """What was written after the one change id and before the other. Raises TrackingLost."""
        if self.fails_with is not None:
            raise TrackingLost(self.fails_with)
        if not self.is_active:
            raise TrackingLost("noTrack")
        known, _, first = since.rpartition("/")
        here, _, last = until.rpartition("/")
        if known != self.id or here != self.id or not first.isdigit():
            raise TrackingLost("noEpoch")
        found = Extents()
        for epoch in range(int(first) + 1, int(last) + 1):
            if epoch not in self._changed:
                raise TrackingLost("noEpoch")
            found.update(self._changed[epoch])
        return found.cut(size)
