"""All sessions here: begun once for each nonce, found again by whoever began them, given up when nobody is heard."""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, replace

from media.local_log import LocalLog
from media.parents import choose_parent
from media.recovery_point import Machine
from media.session import Process
from media.session_log import DiskName
from mediaagent.access import Grant
from mediaagent.buffers import Buffers
from mediaagent.faults import Draining, RequestRefused, SessionMissing, SessionsFull
from mediaagent.open_pools import OpenPool
from mediaagent.session import AgentSession, State
from proto.channels import Caller
from proto.faults import PeerBusy
from proto.tickets import TicketRefused
from runtime.clock import Clock
from runtime.logs import log

PAGE_CONTAINER_BYTES = 4 << 20  # 6 GiB of disk; a buffer of this is most of what a session costs
_LOOK_SECONDS = 0.2  # at sessions that end while we drain
_REMEMBERED = 256  # sessions that ended: so that a commit whose reply was lost can be asked for again


@dataclass(frozen=True)
class Limits:
    """What all sessions together may take."""

    sessions: int = 100
    idle_seconds: float = 900.0


@dataclass(frozen=True)
class Wish:
    """What a writer asks a session for."""

    nonce: str
    machine: Machine
    disks: list[DiskName]
    parent: str


class Sessions:
    """Safe to use from several threads. `look` is called every second or so."""

    def __init__(self, limits: Limits, buffers: Buffers, clock: Clock, process: Process) -> None:
        self._limits = limits
        self._buffers = buffers
        self._clock = clock
        self._process = process
        self._by_id: dict[str, AgentSession] = {}
        self._by_nonce: dict[tuple[str, str, str], AgentSession] = {}
        self._beginning: set[str] = set()  # jobs
        self._draining = False
        self._changed = threading.Condition()

    def begin(self, grant: Grant, served: OpenPool, wish: Wish) -> AgentSession:
        """The session of the caller's job; with a nonce that was seen before, the same.

        A job has one, so that no ticket opens all there are: the one before is given up, and a ticket of an older lease
        is refused. Raises SessionsFull, Draining, PeerBusy, TicketRefused, RequestRefused, ParentUnfit, ParentDamaged,
        PointMissing, RepositoryFault.
        """
        grant.require_machine(wish.machine.id)
        _require_right(wish, served.pool.parameters.segment_bytes)
        job = grant.ticket.job
        key = grant.caller.uri, job, wish.nonce
        with self._changed:
            if job in self._beginning:
                raise PeerBusy(f"job {job}: its session is being begun")
            if key in self._by_nonce:
                return self._by_nonce[key]
            self._require_room(grant)
            self._beginning.add(job)
        older: list[AgentSession] = []
        try:
            session = self._begin(grant, served, wish)
            with self._changed:
                older = self._of_job(job)
                self._by_id[session.id] = self._by_nonce[key] = session
        finally:
            with self._changed:
                self._beginning.discard(job)
        for each in older:
            each.abort("another session of its job began")
        return session

    def _require_room(self, grant: Grant) -> None:
        """The job's own sessions take none: they give way."""
        if self._draining:
            raise Draining("this MediaAgent is about to stop")
        job, fence = grant.ticket.job, grant.ticket.fence
        newest = max((each.grant.ticket.fence for each in self._of_job(job)), default=fence)
        if fence < newest:
            raise TicketRefused(f"job {job}: the ticket is of lease {fence}, and lease {newest} began a session")
        others = sum(1 for each in self._by_id.values() if _runs(each) and each.grant.ticket.job != job)
        if others + len(self._beginning) >= self._limits.sessions:
            raise SessionsFull(f"{self._limits.sessions} sessions are open, which are the most")

    def _of_job(self, job: str) -> list[AgentSession]:
        """Also those that ended, as long as they are remembered."""
        return [each for each in self._by_id.values() if each.grant.ticket.job == job]

    def _begin(self, grant: Grant, served: OpenPool, wish: Wish) -> AgentSession:
        parent, notes = choose_parent(served.pool, wish.machine.id, wish.parent)
        log_ = LocalLog.begin(
            served.pool,
            served.known,
            served.containers,
            self._clock,
            replace(self._process, job=grant.ticket.job),
            wish.machine,
            wish.disks,
            parent,
            min(PAGE_CONTAINER_BYTES, served.pool.parameters.container_bytes),
        )
        log().info("session begun", sid=log_.sid, pool=served.name, machine=wish.machine.id, **grant.about)
        id_ = secrets.token_hex(16)
        return AgentSession(id_, grant, served, log_, wish.disks, notes, self._buffers, self._clock)

    def get(self, caller: Caller, session_id: str) -> AgentSession:
        """A session that the caller began. Raises SessionMissing, also for somebody else's."""
        with self._changed:
            found = self._by_id.get(session_id)
        if found is None or found.grant.caller != caller:
            raise SessionMissing("no such session is open here; begin another")
        return found

    def look(self) -> None:
        """Give up sessions whose writers were not heard for too long, and forget the oldest of those that ended."""
        late = self._clock.monotonic_seconds() - self._limits.idle_seconds
        with self._changed:
            running = [each for each in self._by_id.values() if _runs(each)]
            over = [(key, each) for key, each in self._by_nonce.items() if not _runs(each)]
            for key, each in over[: max(0, len(over) - _REMEMBERED)]:
                del self._by_nonce[key]
                del self._by_id[each.id]
        for each in running:
            if each.heard_at < late and not each.busy:
                each.abort(f"its writer was not heard for {self._limits.idle_seconds:g} s")

    def count_in(self, pool_id: str) -> int:
        """Sessions that run in a pool."""
        with self._changed:
            return sum(1 for each in self._by_id.values() if _runs(each) and each.served.id == pool_id)

    @property
    def count(self) -> int:
        """Sessions that run."""
        with self._changed:
            return sum(1 for each in self._by_id.values() if _runs(each))

    def wait_none(self, seconds: float) -> None:
        """Until no session runs, but so long at most."""
        over = self._clock.monotonic_seconds() + seconds
        with self._changed:
            while any(_runs(each) for each in self._by_id.values()) and self._clock.monotonic_seconds() < over:
                self._changed.wait(_LOOK_SECONDS)

    def drain(self) -> None:
        """Begin no more."""
        with self._changed:
            self._draining = True

    def close(self) -> None:
        """End what still runs: it will never commit."""
        self.drain()
        with self._changed:
            running = [each for each in self._by_id.values() if _runs(each)]
        for each in running:
            each.abort("the MediaAgent stopped")


def _runs(session: AgentSession) -> bool:
    return session.state in (State.OPEN, State.COMMITTING)


def _require_right(wish: Wish, segment_bytes: int) -> None:
    if len(wish.nonce) != 32 or not wish.disks or len(wish.disks) > 1024:
        raise RequestRefused(f"a nonce of {len(wish.nonce)} digits and {len(wish.disks)} disks")
    if len({disk.key for disk in wish.disks}) != len(wish.disks):
        raise RequestRefused("two disks have the same key")
    for disk in wish.disks:
        if not 0 <= disk.size <= segment_bytes << 32:
            raise RequestRefused(f"disk {disk.key[:40]}: of {disk.size} bytes")
        if len(disk.key) > 1000 or len(wish.machine.id) > 1000 or len(wish.machine.name) > 1000:
            raise RequestRefused("a name of more than 1000 characters")
