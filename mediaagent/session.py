"""One session of a VSA: what it may do, in which order, and what ends it.

open --commit--> committing --> committed
  |                  |
  |                  +--fault--> ended
  +--abort, idle, something that no right writer sends--> ended
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from media.container import Kind
from media.faults import DamageFault, ParentDamaged, SessionEnded, SessionFull
from media.ids import cid_of, cid_text, sid_text
from media.keys import DataKey, NoDataKey, SealingKey
from media.known_chunks import Fingerprints, Places
from media.local_log import LocalLog
from media.page import Leaf, decode_leaf
from media.recovery_point import JSON, RecoveryPoint
from media.session import LAST_SEQ
from media.session_log import DiskName, WrittenDisk
from mediaagent.access import Grant
from mediaagent.arrivals import Arrivals
from mediaagent.buffers import Buffers
from mediaagent.faults import (
    ContainerRefused,
    LeafRefused,
    RequestRefused,
    SessionBroken,
    SessionMissing,
)
from mediaagent.leaf_check import LeafCheck
from mediaagent.open_pools import OpenPool
from proto.data_plane import FramedLeaf
from runtime.clock import Clock
from runtime.faults import Fault
from runtime.logs import log

_MOST_KEYS = 4096  # each lasts for 34 GiB of containers
_COMMIT_WAIT_SECONDS = 10.0  # for calls that still run


class State(enum.Enum):
    OPEN = "open"
    COMMITTING = "committing"
    COMMITTED = "committed"
    ENDED = "ended"


class AgentSession:
    """Safe to use from several threads."""

    def __init__(
        self,
        id_: str,
        grant: Grant,
        served: OpenPool,
        log_: LocalLog,
        disks: list[DiskName],
        notes: list[str],
        buffers: Buffers,
        clock: Clock,
    ) -> None:
        self.id = id_
        self.grant = grant
        self.served = served
        self.log = log_
        self.disks = disks
        self.notes = notes
        self.heard_at = clock.monotonic_seconds()
        self._clock = clock
        self._check = LeafCheck(log_, served.containers, disks)
        self._arrivals = Arrivals(served.pool.parameters.container_bytes, buffers, grant.caller, self._keep)
        self._key_by_id: dict[int, SealingKey] = {} if served.pool.parameters.encrypted else {0: NoDataKey()}
        self._state = State.OPEN
        self._calls = 0
        self._why: Fault | None = None  # it ended
        self._point: RecoveryPoint | None = None
        self._changed = threading.Condition()

    @property
    def state(self) -> State:
        return self._state

    @property
    def busy(self) -> bool:
        """Whether a call runs: a container that arrives slowly, say."""
        return self._calls > 0

    @contextmanager
    def _call(self) -> Iterator[None]:
        """Around everything that changes what a commit would commit."""
        with self._changed:
            self._require_open()
            self._calls += 1
        try:
            yield
        except (LeafRefused, ContainerRefused, DamageFault) as fault:
            if not isinstance(fault, ParentDamaged):
                self._end(SessionBroken(f"session {sid_text(self.log.sid)} ended: {fault}"))
            raise
        finally:
            with self._changed:
                self._calls -= 1
                self.heard_at = self._clock.monotonic_seconds()
                self._changed.notify_all()

    def _require_open(self) -> None:
        if self._state is State.OPEN:
            return
        raise self._why or SessionMissing(f"session {sid_text(self.log.sid)}: {self._state.value}")

    def new_key(self) -> DataKey | None:
        """A key for records of this session; None where the pool is not encrypted. Raises SessionFull."""
        with self._call():
            if len(self._key_by_id) >= _MOST_KEYS:
                raise SessionFull(
                    f"session {sid_text(self.log.sid)}: more than {_MOST_KEYS} keys; begin another backup"
                )
            key = self.served.pool.keys.new_data_key()
            if not isinstance(key, DataKey):
                return None
            self._key_by_id[key.key_id] = key
            return key

    def locate(self, fingerprints: Fingerprints) -> Places:
        """Places that hold (W9), or misses."""
        with self._call():
            return self.log.locate(fingerprints)

    def parent_segments(self, disk: int) -> Iterator[int]:
        """The segments of the parent's disk that hold chunks."""
        with self._call():
            self._require_disk(disk)
            yield from self.log.parent_segments(disk)

    def parent_leaf(self, disk: int, segment: int) -> Leaf | None:
        """What the parent says of a segment."""
        with self._call():
            self._require_disk(disk)
            return self.log.parent_leaf(disk, segment)

    def _require_disk(self, disk: int) -> None:
        if disk >= len(self.disks):
            raise RequestRefused(f"disk {disk}: expected disks below {len(self.disks)}")

    def received(self, cid: int) -> tuple[int, bool]:
        """How many bytes of a container are here, and whether it is kept."""
        with self._call():
            return self._arrivals.received(cid)

    def receive(self, cid: int, size: int, offset: int, messages: Iterator[bytes], moved: Callable[[], None]) -> None:
        """Take a container; on return it is verified and durable. As `Arrivals.receive`."""
        with self._call():
            if not cid_of(self.log.sid, 0) <= cid <= cid_of(self.log.sid, LAST_SEQ[Kind.DATA]):
                raise ContainerRefused(f"{cid_text(cid)}: no container of chunks of session {sid_text(self.log.sid)}")
            self._arrivals.receive(cid, size, offset, messages, moved)

    def _keep(self, cid: int, container: memoryview) -> None:
        with self.served.checking() as check:
            footer = check.check(container, cid, self._key_by_id)
        self.log.put_container(cid, container, footer)
        self._check.arrived(cid, footer)

    def put_leaves(self, leaves: Iterable[FramedLeaf]) -> None:
        """Take what segments hold now. Raises LeafRefused, PageCorrupt, ParentDamaged, RepositoryFault."""
        with self._call():
            for framed in leaves:
                where = f"disk {framed.disk}, segment {framed.segment}"
                leaf = decode_leaf(framed.page, where) if framed.page else None
                self._check.check(framed.disk, framed.segment, leaf)
                self.log.put_leaf(framed.disk, framed.segment, leaf)

    def distrust(self, disk: int, places: list[int]) -> list[str]:
        """Points of the parent's line that may be wrong are marked; their ids."""
        with self._call():
            self._require_disk(disk)
            return self.log.distrust(disk, places)

    def beat(self) -> None:
        """The writer lives."""
        with self._call():
            self.log.beat()

    def commit(self, disks: list[WrittenDisk], description: JSON, statistics: JSON) -> RecoveryPoint:
        """Make the recovery point; asked again it answers the same. What raises ends the session."""
        with self._changed:
            if self._state is State.COMMITTING:
                self._changed.wait_for(lambda: self._state is not State.COMMITTING)
            if self._point is not None:
                return self._point
            self._require_open()
            self._require_grown(disks)
            if not self._changed.wait_for(lambda: not self._calls, _COMMIT_WAIT_SECONDS):
                raise RequestRefused(f"session {sid_text(self.log.sid)}: {self._calls} calls still run")
            self._require_open()
            self._state = State.COMMITTING
        try:
            self._check.finish()
            point = self.log.commit(disks, description, statistics)
        except BaseException as failure:
            why = (
                failure if isinstance(failure, Fault) else SessionBroken(f"its commit failed: {type(failure).__name__}")
            )
            self._end(why)
            raise
        with self._changed:
            self._point, self._state = point, State.COMMITTED
            self._changed.notify_all()
        self._arrivals.close()
        return point

    def _require_grown(self, disks: list[WrittenDisk]) -> None:
        """A writer's word of how much more is data is not worth much, but it must be possible."""
        if len(disks) != len(self.disks):
            raise RequestRefused(f"{len(disks)} disks, the session was begun for {len(self.disks)}")
        before = {} if self.log.before is None else {disk.key: disk.data_bytes for disk in self.log.before.disks}
        for name, written in zip(self.disks, disks, strict=True):
            data_bytes = before.get(name.key, 0) + written.grown_bytes
            if not 0 <= data_bytes <= name.size:
                raise RequestRefused(f"disk {name.key}: {data_bytes} bytes of data, of {name.size}")

    def abort(self, reason: str) -> None:
        """Never commit. Does nothing when it ended, or commits now."""
        self._end(SessionEnded(f"session {sid_text(self.log.sid)} was ended: {reason}"), reason)

    def _end(self, why: Fault, reason: str | None = None) -> None:
        with self._changed:
            if self._state is State.ENDED or self._state is State.COMMITTED:
                return
            if self._state is State.COMMITTING and reason is not None:
                return
            self._state, self._why = State.ENDED, why
            self._changed.notify_all()
        log().warning("session ended", sid=self.log.sid, code=why.code, message=str(why), **self.grant.about)
        self.log.abort(reason or type(why).__name__)
        self._arrivals.close()
