"""The control calls of a backup (proto/backup.proto)."""

from __future__ import annotations

import json
from typing import Any

import grpc

from media.keys import DataKey
from media.proof import proof_of
from media.recovery_point import JSON, Machine, detail_json
from media.session_log import DiskName, WrittenDisk
from mediaagent.access import Access
from mediaagent.bitmap import bitmap
from mediaagent.faults import RequestRefused
from mediaagent.metrics import ServerMetrics
from mediaagent.open_pools import OpenPools
from mediaagent.session import AgentSession
from mediaagent.sessions import Sessions, Wish
from proto import backup_pb2
from proto.backup_pb2_grpc import BackupsServicer

_DESCRIPTION_BYTES_MAX = 1 << 20
_COUNTS = ("read_bytes", "new_bytes", "chunks", "new_chunks")


class BackupService(BackupsServicer):
    """Each call: who, which session, and what the session does."""

    def __init__(self, access: Access, pools: OpenPools, sessions: Sessions, metrics: ServerMetrics) -> None:
        self._access = access
        self._pools = pools
        self._sessions = sessions
        self._metrics = metrics

    def _session(self, session_id: str, context: grpc.ServicerContext) -> AgentSession:
        return self._sessions.get(self._access.caller(context), session_id)

    def Begin(self, request: backup_pb2.BeginRequest, context: grpc.ServicerContext) -> backup_pb2.BeginReply:
        grant = self._access.grant(context, "backup", request.pool)
        disks = [DiskName(disk.key, disk.size) for disk in request.disks]
        machine = Machine(request.machine_id, request.machine_name)
        wish = Wish(request.nonce, machine, disks, request.parent)
        session = self._sessions.begin(grant, self._pools.get(request.pool), wish)
        return _begun(session)

    def NewKey(self, request: backup_pb2.SessionRequest, context: grpc.ServicerContext) -> backup_pb2.DataKey:
        key = self._session(request.session, context).new_key()
        if key is None:
            raise RequestRefused("the pool is not encrypted")
        return _key(key)

    def ParentSegments(
        self, request: backup_pb2.ParentSegmentsRequest, context: grpc.ServicerContext
    ) -> backup_pb2.ParentSegmentsReply:
        segments = self._session(request.session, context).parent_segments(request.disk)
        return backup_pb2.ParentSegmentsReply(bitmap=bitmap(list(segments)))

    def Received(self, request: backup_pb2.ReceivedRequest, context: grpc.ServicerContext) -> backup_pb2.ReceivedReply:
        received, whole = self._session(request.session, context).received(request.cid)
        return backup_pb2.ReceivedReply(bytes=received, whole=whole)

    def Distrust(self, request: backup_pb2.DistrustRequest, context: grpc.ServicerContext) -> backup_pb2.DistrustReply:
        points = self._session(request.session, context).distrust(request.disk, list(request.places))
        return backup_pb2.DistrustReply(points=points)

    def Beat(self, request: backup_pb2.SessionRequest, context: grpc.ServicerContext) -> backup_pb2.BeatReply:
        self._session(request.session, context).beat()
        return backup_pb2.BeatReply()

    def Commit(self, request: backup_pb2.CommitRequest, context: grpc.ServicerContext) -> backup_pb2.CommitReply:
        session = self._session(request.session, context)
        disks = [
            WrittenDisk(disk.grown_bytes, disk.change_id if disk.HasField("change_id") else None, _proof(disk.proof))
            for disk in request.disks
        ]
        statistics = _object(request.statistics, "statistics")
        counts = {name: _count(statistics, name) for name in _COUNTS}
        point = session.commit(disks, _object(request.description, "description"), counts)
        self._metrics.commits.inc()
        return backup_pb2.CommitReply(point=json.dumps(detail_json(point)))

    def Abort(self, request: backup_pb2.AbortRequest, context: grpc.ServicerContext) -> backup_pb2.AbortReply:
        self._session(request.session, context).abort(request.reason[:100])
        return backup_pb2.AbortReply()


def _begun(session: AgentSession) -> backup_pb2.BeginReply:
    terms = session.log.terms
    before = session.log.before
    key = session.new_key()
    return backup_pb2.BeginReply(
        session=session.id,
        sid=session.log.sid,
        repository=terms.repository.bytes,
        average_chunk_bytes=terms.parameters.average_chunk_bytes,
        container_bytes=terms.parameters.container_bytes,
        segment_bytes=terms.parameters.segment_bytes,
        encrypted=terms.parameters.encrypted,
        chunker=terms.parameters.chunker,
        chunking_key=terms.chunking_key,
        fingerprint_key=terms.fingerprint_key,
        data_key=None if key is None else _key(key),
        parent="" if before is None else before.id,
        parent_disks=[
            backup_pb2.ParentDisk(
                key=key_,
                size=disk.size,
                resumable=disk.resumable,
                change_id=disk.change_id,
                proof=json.dumps(disk.proof) if disk.proof else "",
            )
            for key_, disk in session.log.parent.items()
        ],
        notes=session.notes,
    )


def _key(key: DataKey) -> backup_pb2.DataKey:
    return backup_pb2.DataKey(id=key.key_id, key=key.key, wrapped=key.wrapped)


def _proof(text: str) -> JSON | None:
    if not text:
        return None
    proof = proof_of(_object(text, "proof"))
    if proof is None:
        raise RequestRefused("proof: expected what docs/format.md says of it")
    return proof.json()


def _count(statistics: JSON, name: str) -> int:
    value = statistics.get(name, 0)
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise RequestRefused(f"statistics: {name}: expected a count, found {str(value)[:40]!r}")
    return value


def _object(text: str, what: str) -> JSON:
    if len(text) > _DESCRIPTION_BYTES_MAX:
        raise RequestRefused(f"{what}: {len(text)} characters, {_DESCRIPTION_BYTES_MAX} are the most")
    try:
        value: Any = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise RequestRefused(f"{what}: expected JSON: {error}") from error
    if not isinstance(value, dict):
        raise RequestRefused(f"{what}: expected a JSON object, found {type(value).__name__}")
    return value
