"""What must hold after every step: each committed point restores byte for byte, and stays what it was.

A restore is a function of what the store answers it. So a point that was restored once is restored again only when
something changed that its restore had asked for, by name or in a listing; `every_step` restores everything always, and
a test shows that both find the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from media.container_reader import ContainerReader
from media.faults import DamageFault
from media.ids import EXPIRIES, REGISTERS
from media.marks import read_marks
from media.pool import Pool
from media.recovery_point import list_points, read_commit, read_point
from media.repository import Entry
from tests.faults.scenario import restore_disk, verdict_on
from tests.media.fakes import Around
from tests.schedules.store import Store


class Loss(AssertionError):
    """The promise is broken."""


class Footprint(Around):
    """What was asked of a store: names and prefixes."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.names: set[str] = set()
        self.prefixes: set[str] = set()

    def get(self, name: str) -> bytes:
        self.names.add(name)
        return super().get(name)

    def get_extent(self, name: str, offset: int, length: int) -> bytes:
        self.names.add(name)
        return super().get_extent(name, offset, length)

    def get_tail(self, name: str, length: int) -> tuple[bytes, int]:
        self.names.add(name)
        return super().get_tail(name, length)

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        self.prefixes.add(prefix)
        return super().list(prefix, after)

    def meets(self, changed: set[str]) -> bool:
        """Whether another answer may come now."""
        return not self.names.isdisjoint(changed) or any(
            name.startswith(prefix) for prefix in self.prefixes for name in changed
        )


@dataclass
class Attempt:
    """One run of a backup: what it should bring back, and what its owner was told. None: nothing yet, or unknown."""

    number: int
    machine: str
    disks: list[bytes]
    told: int | str | None = None  # the point that was made, or the fault


@dataclass
class _Point:
    attempt: Attempt
    footprint: Footprint


@dataclass
class Oracle:
    """Looks at the store itself, past all fates."""

    pool: Pool
    store: Store
    every_step: bool = False
    attempts: list[Attempt] = field(default_factory=list)
    restores: int = 0
    marks: dict[int, list[str]] = field(default_factory=dict)
    _points: dict[int, _Point] = field(default_factory=dict)
    _registers: dict[str, bytes] = field(default_factory=dict)

    def attempt(self, machine: str, disks: list[bytes]) -> Attempt:
        """Note that a backup of `disks` begins; its point is known by this number in its description."""
        self.attempts.append(Attempt(len(self.attempts), machine, disks))
        return self.attempts[-1]

    def of(self, sid: int) -> Attempt:
        """The attempt that made a point."""
        return self._points[sid].attempt

    def made(self) -> list[int]:
        """The points that were committed."""
        return sorted(self._points)

    def after_step(self) -> None:
        """Raises Loss."""
        changed = self.store.take_changed()
        if self.every_step or any(name.startswith((REGISTERS, EXPIRIES)) for name in changed):
            self._check_list()
        for sid, point in self._points.items():
            if self.every_step or point.footprint.meets(changed):
                self._points[sid] = self._checked(sid)
        self._check_registers(changed)
        for attempt in self.attempts:
            self._check_told(attempt)

    def at_end(self) -> None:
        """Everything again, and what marks there are; and a verification finds nothing. Raises Loss."""
        self._check_list()
        for sid in self._points:
            self._checked(sid)
        for sid, notes in self.marks.items():
            found = [mark.note for mark in read_marks(self.pool, sid)]
            if not set(notes) <= set(found):
                raise Loss(f"point {sid}: expected marks {notes}, found {found}")
        verdict = verdict_on(self.pool)
        if verdict.unreadable_points or verdict.lost or verdict.damaged:
            raise Loss(f"a verification found damage: {verdict}")

    def _check_registers(self, changed: set[str]) -> None:
        """The first one decides, for ever."""
        for name in sorted(changed):
            if not name.startswith(REGISTERS):
                continue
            body = self.store.get(name) if self.store.has(name) else b""
            if self._registers.setdefault(name, body) != body:
                raise Loss(f"{name}: the register says something else now")

    def _check_list(self) -> None:
        points = list_points(self.pool)
        if points.damaged:
            raise Loss(f"registers cannot be read: {points.damaged}")
        there = {commit.sid for commit in points.commits}
        if not self._points.keys() <= there:
            raise Loss(f"points {sorted(self._points.keys() - there)} are there no more")
        for sid in sorted(there - self._points.keys()):
            self._points[sid] = self._checked(sid)

    def _checked(self, sid: int) -> _Point:
        self.restores += 1
        footprint = Footprint(self.store)
        pool = replace(self.pool, repository=footprint)
        try:
            commit = read_commit(pool, sid)
            if commit is None:
                raise Loss(f"point {sid} is there no more")
            point = read_point(pool, commit)
        except DamageFault as fault:
            raise Loss(f"point {sid}: {fault}") from fault
        attempt = self.attempts[point.description["attempt"]]
        if sid in self._points and self._points[sid].attempt is not attempt:
            raise Loss(f"point {sid} is another one now")
        containers = ContainerReader(pool)
        for number, (disk, expected) in enumerate(zip(point.disks, attempt.disks, strict=True)):
            data, outcome = restore_disk(pool, disk, containers)
            if outcome.lost:
                raise Loss(f"point {sid}, disk {number}: {outcome.lost[0].fault}")
            if data != expected:
                raise Loss(f"point {sid}, disk {number}: the bytes are not those that were backed up")
        return _Point(attempt, footprint)

    def _check_told(self, attempt: Attempt) -> None:
        made = [sid for sid, point in self._points.items() if point.attempt is attempt]
        if isinstance(attempt.told, int) and made != [attempt.told]:
            raise Loss(f"attempt {attempt.number}: told that point {attempt.told} is there, found {made}")
        if isinstance(attempt.told, str) and made:
            raise Loss(f"attempt {attempt.number}: told that it failed ({attempt.told}), found point {made}")
