"""One command, one call of it, one trouble: what the user is told, what lies there then, and what the next run does."""

from __future__ import annotations

import errno
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from media.faults import RepositoryMissing
from media.ids import SESSIONS, sid_of_name
from media.pool import Pool
from media.recovery_point import list_points
from media.repository import Repository
from media.repository.local import LocalRepository
from media.repository.posix import Posix
from media.session import HEARTBEAT_SECONDS, Session
from runtime.faults import Fault
from tests.durability.commands import DISK, Command, Site
from tests.durability.troubles import Call, Killed, Trouble, Troubled
from tests.faults.failing_posix import FailingPosix
from tests.faults.recording_posix import RecordingPosix, replay, survived
from tests.faults.scenario import restored, verdict_on
from tests.faults.unsynced_posix import UnsyncedPosix, unsynced

T = TypeVar("T")

Nth = tuple[Call, int]

KILLED = "killed"
GOOD = "ok"


class Outcome(NamedTuple):
    """`told`: ok, a fault's code, or that nobody was left to be told. `next`: what the same command says then."""

    told: str
    there: bool
    next: str
    expected: bool


class Experiments:
    """All that is tried with one command. Every repository is made below `directory`."""

    def __init__(self, command: Command, directory: Path) -> None:
        self._command = command
        self._directory = directory
        self._count = 0
        self._before = Site(self._new())
        self._before.directory.mkdir(parents=True)
        command.prepare(self._before, unsynced(self._before.root))
        self._recording = _Recording(command, self._new())
        self.calls = self._recording.place.calls
        assert Counter(self.calls) == Counter(self._undisturbed()), "it makes the same calls each time"

    def _new(self) -> Path:
        self._count += 1
        return self._directory / f"{self._count}"

    def _undisturbed(self) -> list[Call]:
        site = self._before.copy(self._new())
        place = Troubled(unsynced(site.root))
        self._command.run(site, place)
        assert self._command.is_there(site, unsynced(site.root)) == self._command.succeeds
        return place.calls

    def occurrences(self, call: Call) -> list[Nth]:
        """Which of its kind are tried: the first and the last."""
        return [(call, n) for n in sorted({0, self.calls.count(call) - 1})]

    def meeting(self, trouble: Trouble, nth: Nth) -> Outcome:
        """This call meets `trouble`."""
        site = self._before.copy(self._new())
        return self._tried(site, Troubled(unsynced(site.root), nth, trouble))

    def slow(self, nth: Nth) -> Outcome:
        """It takes twice as long as heartbeats are apart, and nobody minds."""
        site = self._before.copy(self._new())

        def last(_name: str, do: Callable[[], T]) -> T:
            site.clock.seconds += 2 * HEARTBEAT_SECONDS
            return do()

        return self._tried(site, Troubled(unsynced(site.root), nth, last))

    def given_up(self, nth: Nth) -> Outcome:
        """It takes so long that somebody ends every session that has not committed."""
        site = self._before.copy(self._new())

        def last(_name: str, do: Callable[[], T]) -> T:
            _end_sessions(site)
            return do()

        return self._tried(site, Troubled(unsynced(site.root), nth, last))

    def no_space(self, nth: Nth) -> Outcome:
        """The disk is full when it begins, and stays so until the next run."""
        site, posix = self._before.copy(self._new()), _Filling()

        def fill(_name: str, do: Callable[[], T]) -> T:
            posix.fill()
            return do()

        return self._tried(site, Troubled(LocalRepository(site.root, posix), nth, fill))

    def torn(self, nth: Nth) -> list[Outcome]:
        """Power lost at each step of it: every name that was made survived, and half of the bytes not yet synced."""
        outcomes = []
        first, last = self._recording.spans[nth]
        for n in range(first, last + 1):
            site = self._recording.site.copy(self._new())
            shutil.rmtree(site.root)
            after = self._new()
            after.mkdir()
            replay(self._recording.posix.log, n, after, survived)
            if (after / "repository").exists():
                (after / "repository").rename(site.root)
            outcomes.append(self._judged(site, KILLED))
        return outcomes

    def _tried(self, site: Site, place: Troubled) -> Outcome:
        try:
            self._command.run(site, place)
            told = GOOD
        except Fault as fault:
            told = fault.code
        except Killed:
            told = KILLED
        assert place.met, "the call was never made"
        return self._judged(site, told)

    def _judged(self, site: Site, told: str) -> Outcome:
        """What was committed before is whole, whatever happened, and nothing is damaged."""
        if not self._command.begins_empty:
            _assert_whole(site.open(unsynced(site.root)).pool)
        there = self._command.is_there(site, unsynced(site.root))
        try:
            self._command.run(site, unsynced(site.root))
            after = GOOD
        except Fault as fault:
            after = fault.code
        assert self._command.is_there(site, unsynced(site.root)) == self._command.succeeds
        return Outcome(told, there, after, there == self._command.succeeds)


class _Recording:
    """One undisturbed run from nothing, with every call of the file system, and which of them each call made."""

    def __init__(self, command: Command, directory: Path) -> None:
        directory.mkdir()
        self.posix = RecordingPosix(directory)
        self.site = Site(directory)
        place = LocalRepository(self.site.root, self.posix)
        command.prepare(self.site, place)
        self.spans: dict[Nth, tuple[int, int]] = {}
        self.place = _Spanning(LocalRepository(self.site.root, self.posix), self)
        command.run(self.site.with_new_clock(), self.place)


class _Spanning(Troubled):
    def __init__(self, inner: Repository, recording: _Recording) -> None:
        super().__init__(inner)
        self._recording = recording

    def meet(self, verb: str, name: str, do: Callable[[], T]) -> T:
        call, log = Call.of(verb, name), self._recording.posix.log
        nth, first = (call, self.calls.count(call)), len(log)
        answer = super().meet(verb, name, do)
        self._recording.spans[nth] = (first, len(log))
        return answer


class _Filling:
    """A file system that has space until it is filled."""

    def __init__(self) -> None:
        self._now: Posix = UnsyncedPosix()

    def fill(self) -> None:
        self._now = FailingPosix(UnsyncedPosix(), 1, errno.ENOSPC, times=10_000)

    def __getattr__(self, call: str) -> Any:
        return getattr(self._now, call)


def _end_sessions(site: Site) -> None:
    """As a collector does that waits no longer."""
    try:
        pool = site.open(unsynced(site.root)).pool
    except RepositoryMissing:
        return
    for entry in pool.repository.list(SESSIONS):
        sid = sid_of_name(entry.name, SESSIONS)
        if sid is not None:
            Session(pool, sid, "somebody", pool.keys.new_data_key(), site.clock).abort("it seems dead")


def _assert_whole(pool: Pool) -> None:
    first = list_points(pool).commits[0]
    assert first.sid == 1
    assert restored(pool, first) == DISK
    assert verdict_on(pool).good
