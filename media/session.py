"""Sessions: one writer's registered act of writing, which ends in exactly one of commit or abort.

The rules W1 to W9 stand in docs/design/protocol.md; this file holds W1, W4 and W7, `media.backup` W2 and W6. No
argument of safety uses a clock (I9).

    begun --commit--> committed        put-if-absent rp/<sid> = commit, won
      |----abort----> aborted          put-if-absent rp/<sid> = tombstone, won or already there
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import dataclass

from media import frame
from media.container import Kind
from media.faults import (
    ObjectCorrupt,
    ObjectExists,
    ObjectForeign,
    ObjectMissing,
    ParentUnfit,
    RepositoryFault,
    RepositoryUnfit,
    RepositoryUnreachable,
    SessionEnded,
    SessionForeign,
    SessionFull,
    SessionUnknown,
)
from media.frame import Kind as FrameKind
from media.ids import (
    CONTAINERS,
    MAX_SEQ,
    MAX_SID,
    REGISTERS,
    SESSIONS,
    cid_of,
    container_name,
    detail_name,
    expiry_name,
    heartbeat_name,
    register_name,
    session_name,
    sid_of_name,
    sid_text,
)
from media.keys import RECORDS_PER_DATA_KEY, SealingKey
from media.pool import Pool
from media.recovery_point import Commit, RecoveryPoint, encode_detail, read_commit
from runtime.clock import Clock

HEARTBEAT_SECONDS = 600.0
PAGES_SEQ = 1 << 23  # pages are numbered from here: who stores the data need not know how many pages there are
LAST_SEQ = {Kind.DATA: PAGES_SEQ - 1, Kind.PAGES: MAX_SEQ}
_ATTEMPTS = 1000  # claims lost to other writers before we say that something is wrong


@dataclass(frozen=True)
class Process:
    """Who writes, for people who read `sess/`; and for whom, by which `settle` tells whose session it is."""

    host: str
    pid: int
    job: str = ""  # of a CommServe; empty where somebody wrote by himself

    @staticmethod
    def this() -> Process:
        return Process(os.uname().nodename, os.getpid())


class Session:
    """Use `begin`. Container numbers and keys may be taken by several threads; everything else belongs to one."""

    def __init__(self, pool: Pool, sid: int, nonce: str, key: SealingKey, clock: Clock) -> None:
        self.pool = pool
        self.sid = sid
        self._key = key
        self._promised_records = 0  # of what may be sealed with `_key`
        self._nonce = nonce
        self._clock = clock
        self._lock = threading.Lock()
        self._next_seq = {Kind.DATA: 0, Kind.PAGES: PAGES_SEQ}
        self._beats = 0
        self._beaten_at = clock.monotonic_seconds()

    @staticmethod
    def begin(pool: Pool, clock: Clock, process: Process) -> Session:
        """W1: claim the next session number by put-if-absent.

        A number is one process incarnation's, never used again (I3).
        """
        sid = _highest(pool) + 1
        nonce = os.urandom(16).hex()
        for _ in range(_ATTEMPTS):
            if sid > MAX_SID:
                raise ObjectForeign(
                    f"{SESSIONS}: no session number is left above {sid_text(MAX_SID)}, which no writer took"
                )
            name = session_name(sid)
            body = {"nonce": nonce, "kind": "writer", "host": process.host, "pid": process.pid, "time": clock.now()}
            if process.job:
                body["job"] = process.job
            claim = frame.encode_json(pool.keys, FrameKind.SESSION, name, body)
            if not _left_data(pool, sid) and put_register(pool, name, claim):
                return Session(pool, sid, nonce, pool.keys.new_data_key(), clock)
            sid += 1
        raise RepositoryUnfit(
            f"{SESSIONS}: {_ATTEMPTS} session numbers below {sid_text(sid)} were taken, and none of them was listed"
        )

    def next_cid(self, kind: Kind) -> int:
        """The number of the next container of this kind."""
        with self._lock:
            seq = self._next_seq[kind]
            self._next_seq[kind] += 1
        if seq > LAST_SEQ[kind]:
            raise SessionFull(
                f"session {sid_text(self.sid)}: more than {PAGES_SEQ} containers of a kind; begin another backup"
            )
        return cid_of(self.sid, seq)

    def put_container(self, cid: int, container: memoryview) -> None:
        """Put a container of this session; durable on return, may be repeated with the same bytes.

        Raises RepositoryFault, ObjectCorrupt.
        """
        name = container_name(cid)
        try:
            self.pool.repository.put_new(name, container)
        except ObjectExists:
            # Nobody else writes under this session's number: only our own put, whose reply was lost, may lie there.
            if self.pool.repository.get(name) != container:
                raise ObjectCorrupt(f"{name}: expected our own container, found other bytes") from None

    def key_for(self, records: int) -> SealingKey:
        """The key for an object of at most so many records; a new one when they may be too many for the last.

        A container counts with all that it could hold: counted before, never refunded, so the bound cannot be passed.
        A key of 32 MiB containers then lasts for 34 GiB; each costs 32 random bytes, and a table of its own in each
        object that uses it holds it.
        """
        with self._lock:
            if self._promised_records + records > RECORDS_PER_DATA_KEY:
                self._key = self.pool.keys.new_data_key()
                self._promised_records = 0
            self._promised_records += records
            return self._key

    def beat(self) -> None:
        """Tell collectors, every ten minutes, that this session lives. Best effort: what fails is told with the next.

        A wrong guess of theirs costs this backup, never a chunk.
        """
        now = self._clock.monotonic_seconds()
        with self._lock:
            if now - self._beaten_at < HEARTBEAT_SECONDS:
                return
            self._beaten_at = now
            self._beats += 1
            name = heartbeat_name(self.sid, self._beats)
        body = frame.encode_json(self.pool.keys, FrameKind.HEARTBEAT, name, {"nonce": self._nonce, "n": self._beats})
        with suppress(RepositoryFault):
            put_register(self.pool, name, body)

    def check_parent(self, parent_sid: int) -> None:
        """W4: a parent may be inherited only if it has not expired, checked after W1. Raises ParentUnfit."""
        try:
            self.pool.repository.get_extent(expiry_name(parent_sid), 0, 1)
        except ObjectMissing:
            return
        raise ParentUnfit(
            f"{sid_text(parent_sid)}: expected a live recovery point as parent, found that it has expired"
        )

    def commit(self, point: RecoveryPoint) -> None:
        """W7: the point exists from the moment its register is won. The caller saw to W6: all is durable before.

        Raises SessionEnded when a tombstone was first, SessionUnknown when it cannot be found out, or is there and
        perhaps not durable; the next run reads the register.
        """
        detail, fingerprint = encode_detail(self.pool, point, self.key_for(1))
        if not put_register(self.pool, detail_name(self.sid), detail):
            raise SessionEnded(f"{detail_name(self.sid)}: expected no detail of ours yet, found somebody else's")
        register = {
            "kind": "commit",
            "nonce": self._nonce,
            "machine": {"id": point.machine.id, "name": point.machine.name},
            "parent": None if point.parent is None else sid_text(point.parent),
            "time": point.time,
            "detail": fingerprint.hex(),
        }
        name = register_name(self.sid)
        try:
            won = self._put_commit(name, frame.encode_json(self.pool.keys, FrameKind.REGISTER, name, register))
        except RepositoryFault as fault:
            raise SessionUnknown(
                f"{name}: whether recovery point {sid_text(self.sid)} was committed is not known: {fault}"
            ) from fault
        if not won:
            raise SessionEnded(f"{name}: somebody ended session {sid_text(self.sid)} before it committed")

    def _put_commit(self, name: str, body: bytes) -> bool:
        """The same put again when its reply was lost: a refusal then shows what lies there, and that it is durable.

        Not after any other fault: a sync that failed succeeds when it is asked for again, and has written nothing.
        """
        try:
            return put_register(self.pool, name, body)
        except RepositoryUnreachable:
            return put_register(self.pool, name, body)

    def abort(self, reason: str) -> None:
        """Say that this session will never commit. Best effort: a session without a register is as good as aborted."""
        name = register_name(self.sid)
        body = {"kind": "tombstone", "nonce": self._nonce, "reason": reason, "time": self._clock.now()}
        try:
            put_register(self.pool, name, frame.encode_json(self.pool.keys, FrameKind.REGISTER, name, body))
        except RepositoryFault:
            return


def settle(pool: Pool, sid: int, job: str, clock: Clock) -> Commit | None:
    """What session `sid` of a job committed; None when it never will: a tombstone is put where it had not ended.

    Whoever named the number may lie: no session of another is ended or answered, and none that was never claimed, whose
    register would use up the numbers below it. Raises SessionForeign, DamageFault, RepositoryFault.
    """
    _require_claimed(pool, sid, job)
    commit = read_commit(pool, sid)
    if commit is not None:
        return commit
    name = register_name(sid)
    body = {"kind": "tombstone", "nonce": os.urandom(16).hex(), "reason": f"job {job} moved on", "time": clock.now()}
    put_register(pool, name, frame.encode_json(pool.keys, FrameKind.REGISTER, name, body))
    return read_commit(pool, sid)  # a commit may have been first


def _require_claimed(pool: Pool, sid: int, job: str) -> None:
    name = session_name(sid)
    try:
        claim = frame.decode_json(pool.keys, FrameKind.SESSION, name, pool.repository.get(name))
    except ObjectMissing:
        raise SessionForeign(f"{name}: expected a session of job {job}, found none") from None
    if claim.get("job") != job:
        raise SessionForeign(f"{name}: expected a session of job {job}, found one of {claim.get('job') or 'no job'}")


def _highest(pool: Pool) -> int:
    """The highest session number that is claimed, or that ended though its claim is lost; 0 when there is none."""
    sids = (sid_of_name(e.name, prefix) or 0 for prefix in (SESSIONS, REGISTERS) for e in pool.repository.list(prefix))
    return max(sids, default=0)


def _left_data(pool: Pool, sid: int) -> bool:
    """Whether a session whose claim and register were lost left containers: its number is not used again (I3)."""
    return next(iter(pool.repository.list(f"{CONTAINERS}{sid_text(sid)}/")), None) is not None


def put_register(pool: Pool, name: str, body: bytes) -> bool:
    """Put-if-absent of a small object whose bytes are unique (a nonce is in them): True when they lie there now.

    A refusal is read back: after a lost reply the first try may have been ours.
    """
    try:
        pool.repository.put_new(name, body)
    except ObjectExists:
        return pool.repository.get(name) == body
    return True
