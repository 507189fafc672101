"""The data plane of a backup and a restore (proto/data_plane.py)."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import numpy as np

from media.page import encode
from mediaagent.access import Access, metadata, number
from mediaagent.faults import RequestRefused
from mediaagent.metrics import ServerMetrics
from mediaagent.session import AgentSession
from mediaagent.sessions import Sessions
from mediaagent.watchdog import Watchdog
from proto import backup_pb2
from proto.data_plane import (
    CID,
    FINGERPRINT_BYTES,
    MOST_FINGERPRINTS,
    MOST_LEAVES,
    OFFSET,
    SESSION,
    SIZE,
    FramedLeaf,
    frame_leaf,
    joined,
    leaves_in,
)


class DataService:
    """Each call: who, which session, and what the session does."""

    def __init__(self, access: Access, sessions: Sessions, watchdog: Watchdog, metrics: ServerMetrics) -> None:
        self._access = access
        self._sessions = sessions
        self._watchdog = watchdog
        self._metrics = metrics

    def _session(self, session_id: str, context: grpc.ServicerContext) -> AgentSession:
        return self._sessions.get(self._access.caller(context), session_id)

    def locate(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        session = self._session(metadata(context, SESSION), context)
        if len(request) % FINGERPRINT_BYTES or len(request) > MOST_FINGERPRINTS * FINGERPRINT_BYTES:
            raise RequestRefused(f"{len(request)} bytes of fingerprints")
        places = session.locate(np.frombuffer(request, np.uint8).reshape(-1, FINGERPRINT_BYTES))
        self._metrics.fingerprints.inc(len(places.cids))
        self._metrics.found.inc(int(np.count_nonzero(places.cids)))
        return places.cids.astype("<u8").tobytes() + places.slots.astype("<u4").tobytes()

    def put_container(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        session = self._session(metadata(context, SESSION), context)
        cid, size, offset = (number(context, name) for name in (CID, SIZE, OFFSET))
        with self._watchdog.watch(context) as stream:
            session.receive(cid, size, offset, messages, stream.moved)
        self._metrics.containers.inc()
        self._metrics.container_bytes.inc(size)
        return b""

    def parent_leaves(self, request: backup_pb2.ParentLeavesRequest, context: grpc.ServicerContext) -> Iterator[bytes]:
        session = self._session(request.session, context)
        if len(request.segments) > MOST_LEAVES:
            raise RequestRefused(f"{len(request.segments)} segments, {MOST_LEAVES} are the most")
        with self._watchdog.watch(context) as stream:
            for message in joined(_framed(session, request)):
                yield message
                stream.moved()

    def put_leaves(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self._session(metadata(context, SESSION), context).put_leaves(leaves_in(request))
        return b""


def _framed(session: AgentSession, request: backup_pb2.ParentLeavesRequest) -> Iterator[bytes]:
    for segment in request.segments:
        leaf = session.parent_leaf(request.disk, segment)
        page = b"" if leaf is None else b"".join(encode(leaf))
        yield frame_leaf(FramedLeaf(request.disk, segment, page))
