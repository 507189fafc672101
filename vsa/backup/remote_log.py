"""A session kept by a MediaAgent: `media.session_log.SessionLog` over the network.

Nothing here waits for a reply where it need not: leaves of the parent are fetched ahead, leaves are sent in batches in
the background, containers by the threads that upload. Only `locate` is asked and answered, in one call for a segment;
more workers than cores hide its way. Every call may be made again, so a connection that breaks costs a pause.
"""

from __future__ import annotations

import json
import secrets
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from media.container import Footer, Kind
from media.faults import SessionFull, SessionUnknown
from media.ids import cid_of, sid_text
from media.keys import RECORDS_PER_DATA_KEY, DataKey, NoDataKey, SealingKey
from media.known_chunks import Fingerprints, Places
from media.page import Leaf, decode_leaf, encode
from media.pool import Parameters
from media.recovery_point import JSON, Machine, RecoveryPoint, point_of
from media.session import LAST_SEQ
from media.session_log import DiskName, ParentDisk, Terms, WrittenDisk
from proto import backup_pb2
from proto.channels import BULK_BYTES
from proto.data_plane import (
    CID,
    LEAVES_BYTES,
    MOST_FINGERPRINTS,
    OFFSET,
    SESSION,
    SIZE,
    FramedLeaf,
    frame_leaf,
    leaves_in,
    slices,
)
from proto.faults import PeerBroken, PeerSlow, PeerUnreachable, calling, code_of
from runtime.clock import Clock
from runtime.faults import Fault
from runtime.tasks import Threads
from vsa.backup.leaves_ahead import LeavesAhead, executor
from vsa.media_agent import COMMIT_SECONDS, CONTROL_SECONDS, DATA_SECONDS, MediaAgentLine

_BEAT_SECONDS = 60.0
_ABORT_SECONDS = 10.0  # nobody waits longer for a courtesy: a session that is not heard of is given up
_BATCHES_ON_THE_WAY = 8  # of leaves: 4 MiB
_MOST_PLACES = 100_000
_SESSION_MISSING = "mediaagent.session_missing"


@dataclass(frozen=True)
class Wanted:
    """What a session is begun for. `parent` is auto, none, or the id of a recovery point."""

    pool: str
    machine: Machine
    disks: list[DiskName]
    parent: str


class RemoteLog:
    """Use `begin`."""

    def __init__(self, line: MediaAgentLine, wanted: Wanted, begun: backup_pb2.BeginReply, clock: Clock) -> None:
        parameters = Parameters(
            begun.average_chunk_bytes, begun.container_bytes, begun.segment_bytes, begun.encrypted, begun.chunker
        )
        self.sid = begun.sid
        self.terms = Terms(uuid.UUID(bytes=begun.repository), parameters, begun.chunking_key, begun.fingerprint_key)
        self.parent = {
            disk.key: ParentDisk(
                disk.size,
                disk.resumable,
                disk.change_id if disk.HasField("change_id") else None,
                json.loads(disk.proof) if disk.proof else None,
            )
            for disk in begun.parent_disks
        }
        self.notes = list(begun.notes)
        self._line = line
        self._session = begun.session
        self._metadata = ((SESSION, begun.session),)
        self._clock = clock
        self._lock = threading.Lock()
        self._key: SealingKey = _key(begun.data_key) if begun.encrypted else NoDataKey()
        self._promised_records = 0
        self._next_seq = 0
        self._beaten_at = clock.monotonic_seconds()
        self._threads = executor()
        self._ahead = [self._leaves_ahead(number) for number in range(len(wanted.disks))]
        self._segments: dict[int, Future[NDArray[np.int64]]] = {}
        self._sender = Threads(2, thread_name_prefix="send-leaves")
        self._frames: list[bytes] = []
        self._framed_bytes = 0
        self._sent: list[Future[None]] = []

    @staticmethod
    def begin(line: MediaAgentLine, wanted: Wanted, clock: Clock) -> RemoteLog:
        """Claim a session there. Raises what the MediaAgent does: ParentDamaged (try with parent none), say."""
        request = backup_pb2.BeginRequest(
            nonce=secrets.token_hex(16),
            pool=wanted.pool,
            machine_id=wanted.machine.id,
            machine_name=wanted.machine.name,
            disks=[backup_pb2.SourceDisk(key=disk.key, size=disk.size) for disk in wanted.disks],
            parent=wanted.parent,
        )
        begun = line.again(lambda: line.backups.Begin(request, timeout=CONTROL_SECONDS, metadata=line.ticket))
        return RemoteLog(line, wanted, begun, clock)

    def next_cid(self) -> int:
        with self._lock:
            seq = self._next_seq
            self._next_seq += 1
        if seq > LAST_SEQ[Kind.DATA]:
            raise SessionFull(f"session {sid_text(self.sid)}: no container number is left; begin another backup")
        return cid_of(self.sid, seq)

    def key_for(self, records: int) -> SealingKey:
        with self._lock:
            if self._promised_records + records > RECORDS_PER_DATA_KEY and isinstance(self._key, DataKey):
                request = backup_pb2.SessionRequest(session=self._session)
                self._key = _key(self._line.again(lambda: self._line.backups.NewKey(request, timeout=CONTROL_SECONDS)))
                self._promised_records = 0
            self._promised_records += records
            return self._key

    def put_container(self, cid: int, container: memoryview, footer: Footer) -> None:  # noqa: ARG002 # it is in the container
        sent = False

        def put() -> None:
            nonlocal sent
            offset, whole = self._received(cid) if sent else (0, False)
            sent = True
            if not whole:
                self._stream(cid, container, offset)

        self._line.again(put)

    def _received(self, cid: int) -> tuple[int, bool]:
        """How much of a container arrived before its stream broke."""
        request = backup_pb2.ReceivedRequest(session=self._session, cid=cid)
        reply = self._line.backups.Received(request, timeout=CONTROL_SECONDS)
        return reply.bytes, reply.whole

    def _stream(self, cid: int, container: memoryview, offset: int) -> None:
        metadata = (*self._metadata, (CID, str(cid)), (SIZE, str(len(container))), (OFFSET, str(offset)))
        messages = slices(container, offset, BULK_BYTES)
        self._line.data.put_container(messages, timeout=DATA_SECONDS, metadata=metadata)

    def locate(self, fingerprints: Fingerprints) -> Places:
        parts = [
            self._locate(fingerprints[at : at + MOST_FINGERPRINTS])
            for at in range(0, len(fingerprints), MOST_FINGERPRINTS)
        ]
        return Places(np.concatenate([p.cids for p in parts]), np.concatenate([p.slots for p in parts]))

    def _locate(self, fingerprints: Fingerprints) -> Places:
        n, request = len(fingerprints), fingerprints.tobytes()
        raw = self._line.again(
            lambda: self._line.data.locate(request, timeout=CONTROL_SECONDS, metadata=self._metadata)
        )
        if len(raw) != 12 * n:
            raise PeerBroken(f"{self._line.peer}: {len(raw)} bytes of places for {n} fingerprints")
        return Places(np.frombuffer(raw, "<u8", n).copy(), np.frombuffer(raw, "<u4", n, 8 * n).copy())

    def parent_segments(self, disk: int) -> Iterator[int]:
        if not self.parent:
            return iter(())
        asked = self._asked_segments(disk)
        if disk + 1 < len(self._ahead):
            self._asked_segments(disk + 1)  # known, with its first leaves, when this disk is done
        return iter(asked.result().tolist())

    def _asked_segments(self, disk: int) -> Future[NDArray[np.int64]]:
        with self._lock:
            if disk not in self._segments:
                self._segments[disk] = self._threads.submit(self._fetch_segments, disk)
            return self._segments[disk]

    def _fetch_segments(self, disk: int) -> NDArray[np.int64]:
        request = backup_pb2.ParentSegmentsRequest(session=self._session, disk=disk)
        reply = self._line.again(lambda: self._line.backups.ParentSegments(request, timeout=COMMIT_SECONDS))
        segments = np.flatnonzero(np.unpackbits(np.frombuffer(reply.bitmap, np.uint8), bitorder="little"))
        self._ahead[disk].expect(segments)
        return segments

    def expect(self, disk: int, segments: list[int]) -> None:
        self._ahead[disk].expect(np.array(segments, np.int64))

    def parent_leaf(self, disk: int, segment: int) -> Leaf | None:
        return self._ahead[disk].get(segment)

    def _leaves_ahead(self, disk: int) -> LeavesAhead:
        def fetch(segments: list[int]) -> dict[int, Leaf | None]:
            request = backup_pb2.ParentLeavesRequest(session=self._session, disk=disk, segments=segments)
            messages = self._line.again(lambda: list(self._line.data.parent_leaves(request, timeout=DATA_SECONDS)))
            leaves = {}
            for framed in (each for message in messages for each in leaves_in(message)):
                where = f"disk {framed.disk}, segment {framed.segment} of the parent"
                leaves[framed.segment] = decode_leaf(framed.page, where) if framed.page else None
            return leaves

        return LeavesAhead(fetch, self._threads)

    def put_leaf(self, disk: int, segment: int, leaf: Leaf | None) -> None:
        page = b"" if leaf is None else b"".join(encode(leaf))
        frame = frame_leaf(FramedLeaf(disk, segment, page))
        with self._lock:
            self._frames.append(frame)
            self._framed_bytes += len(frame)
            if self._framed_bytes < LEAVES_BYTES:
                return
            late = self._send()
        for sent in late:
            sent.result()

    def _send(self) -> list[Future[None]]:
        """Send what was collected; those of the batches before that must have arrived by now."""
        message = b"".join(self._frames)
        self._frames, self._framed_bytes = [], 0
        if message:
            self._sent.append(self._sender.submit(self._send_batch, message))
        late, self._sent = self._sent[:-_BATCHES_ON_THE_WAY], self._sent[-_BATCHES_ON_THE_WAY:]
        return late

    def _send_batch(self, message: bytes) -> None:
        self._line.again(lambda: self._line.data.put_leaves(message, timeout=DATA_SECONDS, metadata=self._metadata))

    def distrust(self, disk: int, places: list[int]) -> list[str]:
        request = backup_pb2.DistrustRequest(session=self._session, disk=disk, places=places[:_MOST_PLACES])
        return list(self._line.again(lambda: self._line.backups.Distrust(request, timeout=COMMIT_SECONDS)).points)

    def beat(self) -> None:
        now = self._clock.monotonic_seconds()
        with self._lock:
            if now - self._beaten_at < _BEAT_SECONDS:
                return
            self._beaten_at = now
        self._line.backups.Beat.future(backup_pb2.SessionRequest(session=self._session), timeout=CONTROL_SECONDS)

    def commit(self, disks: list[WrittenDisk], description: JSON, statistics: JSON) -> RecoveryPoint:
        with self._lock:
            late = self._send()
        for sent in (*late, *self._sent):
            sent.result()
        request = backup_pb2.CommitRequest(
            session=self._session,
            disks=[
                backup_pb2.WrittenDisk(
                    grown_bytes=d.grown_bytes, change_id=d.change_id, proof=json.dumps(d.proof) if d.proof else ""
                )
                for d in disks
            ],
            description=json.dumps(description),
            statistics=json.dumps(statistics),
        )
        try:
            reply = self._line.again(lambda: self._line.backups.Commit(request, timeout=COMMIT_SECONDS))
        except (PeerUnreachable, PeerSlow) as fault:
            raise SessionUnknown(
                f"whether recovery point {sid_text(self.sid)} was committed is not known: {fault}"
            ) from fault
        except Fault as fault:
            if code_of(fault) == _SESSION_MISSING:  # it may have been restarted since the first try
                raise SessionUnknown(
                    f"whether recovery point {sid_text(self.sid)} was committed is not known: {fault}"
                ) from fault
            raise
        self._close()
        return point_of(self.sid, json.loads(reply.point))

    def abort(self, reason: str) -> None:
        self._close()
        request = backup_pb2.AbortRequest(session=self._session, reason=reason)
        with suppress(Fault), calling(self._line.peer):
            self._line.backups.Abort(request, timeout=_ABORT_SECONDS)

    def _close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._sender.shutdown(wait=False, cancel_futures=True)


def _key(key: backup_pb2.DataKey) -> DataKey:
    return DataKey(key.id, key.key, key.wrapped)
