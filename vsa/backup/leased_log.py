"""A session's log for as long as an assignment is leased: the same port around another.

It ends the backup when the assignment must end, sends no faster than the CommServe lets it, and tells the CommServe
before it commits: whoever finds the lease lost in between reads the register and knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from media.container import Footer
from media.keys import SealingKey
from media.known_chunks import Fingerprints, Places
from media.page import Leaf
from media.recovery_point import JSON, RecoveryPoint
from media.session_log import ParentDisk, SessionLog, Terms, WrittenDisk
from proto.agent.work import Work
from runtime.clock import Waiting
from runtime.pacing import Pace, Rates


class LeasedLog:
    """Around `inner`. Also raises WorkCancelled and LeaseLost, from everything but `abort`."""

    def __init__(self, inner: SessionLog, work: Work, clock: Waiting) -> None:
        self._inner = inner
        self._work = work
        self._clock = clock
        self._rate = 0
        self._pace = Pace(Rates(None), clock)

    @property
    def sid(self) -> int:
        return self._inner.sid

    @property
    def terms(self) -> Terms:
        return self._inner.terms

    @property
    def parent(self) -> Mapping[str, ParentDisk]:
        return self._inner.parent

    def next_cid(self) -> int:
        return self._inner.next_cid()

    def key_for(self, records: int) -> SealingKey:
        return self._inner.key_for(records)

    def put_container(self, cid: int, container: memoryview, footer: Footer) -> None:
        self._work.check()
        rate = self._work.bytes_per_second
        if rate != self._rate:
            self._rate, self._pace = rate, Pace(Rates(rate or None), self._clock)
        self._pace.spend(len(container))
        self._work.check()
        self._inner.put_container(cid, container, footer)
        self._work.stored(len(container))

    def locate(self, fingerprints: Fingerprints) -> Places:
        self._work.check()
        return self._inner.locate(fingerprints)

    def parent_segments(self, disk: int) -> Iterator[int]:
        self._work.check()
        return self._inner.parent_segments(disk)

    def expect(self, disk: int, segments: list[int]) -> None:
        self._inner.expect(disk, segments)

    def parent_leaf(self, disk: int, segment: int) -> Leaf | None:
        self._work.check()
        return self._inner.parent_leaf(disk, segment)

    def put_leaf(self, disk: int, segment: int, leaf: Leaf | None) -> None:
        self._work.check()
        self._inner.put_leaf(disk, segment, leaf)

    def distrust(self, disk: int, places: list[int]) -> list[str]:
        self._work.check()
        return self._inner.distrust(disk, places)

    def beat(self) -> None:
        self._work.check()
        self._inner.beat()

    def commit(self, disks: list[WrittenDisk], description: JSON, statistics: JSON) -> RecoveryPoint:
        self._work.committing(self._inner.sid)
        return self._inner.commit(disks, description, statistics)

    def abort(self, reason: str) -> None:
        self._inner.abort(reason)
