"""What a leaf from elsewhere may name: the parent's entries, chunks of its own session, and places that hold.

A place holds when its container's footer has the whole fingerprint there, a chunk of that length: the question that
`locate` asks before it answers (W9). Whoever knows a chunk's keyed fingerprint would be answered its place, so nothing
has to be remembered of what was answered.

Containers of the session may arrive after the leaves that name them. What they must hold is kept until then, and
nothing is committed before all of it was found.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from media.container import Footer
from media.container_reader import ContainerReader
from media.faults import DamageFault
from media.ids import cid_of, cid_text, sid_of
from media.local_log import LocalLog
from media.page import Leaf
from media.record import Type
from media.session import PAGES_SEQ
from media.session_log import DiskName
from mediaagent.faults import LeafRefused

MOST_AHEAD = 1 << 18  # entries of containers that have not arrived: 12 MB; a right writer has a few thousand

Rows = NDArray[np.int64]


class LeafCheck:
    """For one session. Safe to use from several threads. Who raises LeafRefused never commits."""

    def __init__(self, log: LocalLog, containers: ContainerReader, disks: list[DiskName]) -> None:
        self._log = log
        self._containers = containers
        self._disks = disks
        self._segment_bytes = log.terms.parameters.segment_bytes
        self._most_bytes = 2 * log.terms.parameters.average_chunk_bytes
        self._arrived: set[int] = set()
        self._ahead: dict[int, list[Leaf]] = {}  # container that has not arrived -> leaves with only its entries
        self._ahead_count = 0
        self._lock = threading.Lock()

    def check(self, disk: int, segment: int, leaf: Leaf | None) -> None:
        """Raises LeafRefused, ParentDamaged."""
        where = f"disk {disk}, segment {segment}"
        if disk >= len(self._disks):
            raise LeafRefused(f"{where}: expected disks below {len(self._disks)}")
        if leaf is None:
            return
        self._bounds(where, leaf, segment, self._disks[disk].size - segment * self._segment_bytes)
        rows = self._not_the_parents(leaf, self._log.parent_leaf(disk, segment))
        cids = leaf.places.cids[rows]
        for cid in np.unique(cids).tolist():
            entries = _some(leaf, rows[cids == cid])
            if sid_of(cid) != self._log.sid:
                self._confirm(where, cid, entries)
            else:
                self._own(where, cid, entries)

    def _bounds(self, where: str, leaf: Leaf, segment: int, rest: int) -> None:
        room = min(self._segment_bytes, rest)
        if leaf.index != segment or not len(leaf.offsets):
            raise LeafRefused(f"{where}: a leaf of segment {leaf.index} with {len(leaf.offsets)} chunks")
        end = int(leaf.offsets[-1]) + int(leaf.lengths[-1])
        if end > room:
            raise LeafRefused(f"{where}: its last chunk ends at {end}, expected up to {max(room, 0)}")
        if int(leaf.lengths.max()) > self._most_bytes:
            raise LeafRefused(f"{where}: a chunk of {leaf.lengths.max()} bytes, expected up to {self._most_bytes}")
        if not leaf.places.cids.all():
            raise LeafRefused(f"{where}: a chunk without a place")

    def _not_the_parents(self, leaf: Leaf, old: Leaf | None) -> Rows:
        """The rows that do not stand in the parent's leaf as they are."""
        rows = np.arange(len(leaf.offsets))
        if old is None or not len(old.offsets):
            return rows
        at = np.minimum(np.searchsorted(old.offsets, leaf.offsets), len(old.offsets) - 1)
        same = (old.offsets[at] == leaf.offsets) & (old.lengths[at] == leaf.lengths)
        same &= (old.places.cids[at] == leaf.places.cids) & (old.places.slots[at] == leaf.places.slots)
        same &= (old.fingerprints[at] == leaf.fingerprints).all(axis=1)
        fresh: Rows = rows[~same]
        return fresh

    def _own(self, where: str, cid: int, entries: Leaf) -> None:
        if not cid_of(self._log.sid, 0) <= cid < cid_of(self._log.sid, PAGES_SEQ):
            raise LeafRefused(f"{where}: names {cid_text(cid)}, which is no container of chunks")
        with self._lock:
            if cid not in self._arrived:
                self._ahead_count += len(entries.offsets)
                if self._ahead_count > MOST_AHEAD:
                    raise LeafRefused(f"{where}: names {MOST_AHEAD} chunks of containers that have not arrived")
                self._ahead.setdefault(cid, []).append(entries)
                return
        self._confirm(where, cid, entries)

    def _confirm(self, where: str, cid: int, entries: Leaf) -> None:
        try:
            footer = self._containers.footer(cid)
        except DamageFault as fault:
            raise LeafRefused(f"{where}: names {cid_text(cid)}: {fault}") from fault
        _compare(where, cid, footer, entries)

    def arrived(self, cid: int, footer: Footer) -> None:
        """A container of the session is durable. Raises LeafRefused when leaves named what it does not hold."""
        with self._lock:
            self._arrived.add(cid)
            waiting = self._ahead.pop(cid, [])
            self._ahead_count -= sum(len(entries.offsets) for entries in waiting)
        for entries in waiting:
            _compare(f"segment {entries.index}", cid, footer, entries)

    def finish(self) -> None:
        """Raises LeafRefused when leaves name containers that did not arrive."""
        with self._lock:
            missing = sorted(self._ahead)
        if missing:
            raise LeafRefused(
                f"{len(missing)} containers that leaves name did not arrive, {cid_text(missing[0])} first"
            )


def _some(leaf: Leaf, rows: Rows) -> Leaf:
    places = leaf.places._replace(cids=leaf.places.cids[rows], slots=leaf.places.slots[rows])
    return Leaf(leaf.index, leaf.offsets[rows], leaf.lengths[rows], leaf.fingerprints[rows], places)


def _compare(where: str, cid: int, footer: Footer, entries: Leaf) -> None:
    slots = entries.places.slots
    if len(slots) and int(slots.max()) >= len(footer):
        raise LeafRefused(f"{where}: names slot {slots.max()} of {cid_text(cid)}, which has {len(footer)}")
    there = footer[slots]
    right = (there["fingerprint"] == entries.fingerprints).all(axis=1)
    right &= (there["plain_len"] == entries.lengths) & (there["type"] == Type.CHUNK)
    if not right.all():
        slot = int(slots[np.flatnonzero(~right)[0]])
        raise LeafRefused(f"{where}: names a chunk in slot {slot} of {cid_text(cid)} that is not there")
