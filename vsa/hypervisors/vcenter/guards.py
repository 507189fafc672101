"""What may go wrong while a machine's snapshot is read: a datastore that fills, a snapshot that grows old, a machine
that moves.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from media.disk import Disk
from media.extents import Extent
from vsa.faults import DatastoreFull, MachineMoved, SnapshotTooOld
from vsa.hypervisors import Purpose
from vsa.hypervisors.vcenter.connection import Connection
from vsa.hypervisors.vcenter.disks import disks_of
from vsa.hypervisors.vcenter.relocations import Relocations

_LOOK_SECONDS = 30.0
_MOVE_SECONDS = 20 * 60.0  # a move that takes longer is not waited for
_MOVE_PAUSE_SECONDS = 5.0
_SHARE = 0.05  # of a datastore: no floor is higher


@dataclass(frozen=True)
class Floors:
    """Free bytes of a datastore: with fewer nothing begins, or it is given up. A small datastore needs 5 %."""

    begin_bytes: int = 20 << 30
    abort_bytes: int = 8 << 30


class Guard:
    """Of one machine that is held. Threads share it. `look` costs nothing but once in half a minute."""

    def __init__(self, connection: Connection, machine: Any, why: Purpose, floors: Floors) -> None:
        self._connection = connection
        self._machine = machine
        self._why = why
        self._floors = floors
        self._lock = threading.Lock()
        self._looked_at = why.clock.monotonic_seconds()
        self._taken_at: float | None = None
        self._position: object = None
        self._relocations = Relocations(connection, machine)

    def require_space(self) -> None:
        """Raises DatastoreFull where too little is free to begin."""
        self._require(self._floors.begin_bytes, "to begin")

    def taken(self) -> None:
        """The snapshot is there: its age counts from now on."""
        self._taken_at = self._why.clock.monotonic_seconds()

    def look(self) -> None:
        """Raises DatastoreFull, SnapshotTooOld, MachineMoved, and what the purpose's check does."""
        now = self._why.clock.monotonic_seconds()
        with self._lock:
            if now - self._looked_at < _LOOK_SECONDS:
                return
            self._looked_at = now
        self._why.check()
        most = self._why.wish.snapshot_minutes * 60
        if self._taken_at is not None and now - self._taken_at > most:
            raise SnapshotTooOld(f"the snapshot is older than {most // 60} minutes, and not all of it was read")
        self._require(self._floors.abort_bytes, "to go on with a snapshot")
        if self._position is not None:
            self._require_unmoved()

    def note_position(self) -> None:
        """Reading begins: where the machine and its disks are now, they must be at the end, and nothing moves them.

        Waits while something does. Raises MachineMoved when that takes too long.
        """
        clock = self._why.clock
        until = clock.monotonic_seconds() + _MOVE_SECONDS
        while self._relocations.running():
            self._why.check()
            if clock.monotonic_seconds() >= until:
                raise MachineMoved(f"the machine is being moved for more than {_MOVE_SECONDS / 60:.0f} minutes")
            clock.sleep(_MOVE_PAUSE_SECONDS)
        self._relocations.note()
        self._position = self._where()

    def check_position(self) -> None:
        """Raises MachineMoved."""
        here = self._where()
        if here != self._position:
            raise MachineMoved(f"the machine was at {self._position} when reading began, and is at {here}")
        self._require_unmoved()

    def _require_unmoved(self) -> None:
        move = self._relocations.since()
        if move is not None:
            raise MachineMoved(f"the machine was moved while it was read, by {move}")

    def _where(self) -> object:
        found = self._connection.properties(self._machine, "runtime.host", "config")
        files = sorted(disk.file for disk in disks_of(found["config"]))
        return found["runtime.host"]._moId, *files

    def _require(self, floor: int, what: str) -> None:
        stores = self._connection.properties(self._machine, "datastore").get("datastore") or []
        for store in stores:
            summary = self._connection.properties(store, "summary")["summary"]
            least = min(floor, int(summary.capacity * _SHARE))
            if summary.accessible and summary.freeSpace < least:
                raise DatastoreFull(
                    f"datastore {summary.name}: expected {least} free bytes {what}, found {summary.freeSpace}"
                )


class GuardedDisk:
    """A disk whose reads look at the guard. A `Disk`."""

    def __init__(self, disk: Disk, guard: Guard) -> None:
        self._disk = disk
        self._guard = guard

    @property
    def size(self) -> int:
        return self._disk.size

    def data_extents(self, offset: int, length: int) -> Iterator[Extent]:
        return self._disk.data_extents(offset, length)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self._guard.look()
        self._disk.read_into(offset, buffer)

    def check(self) -> None:
        self._disk.check()
        self._guard.check_position()
