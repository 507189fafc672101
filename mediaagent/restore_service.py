"""The calls of a restore (proto/restore.proto), and its data plane."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator

import grpc

from media.extents import Extent, normal
from media.faults import ObjectMissing, PointMissing
from media.ids import expiry_name
from media.marks import read_marks
from media.page import encode
from media.recovery_point import Commit, DiskTree, RecoveryPoint, list_points, read_commit, read_point
from mediaagent.access import Access, Grant
from mediaagent.bitmap import bitmap
from mediaagent.faults import RequestRefused
from mediaagent.metrics import ServerMetrics
from mediaagent.open_pools import OpenPool, OpenPools
from mediaagent.restore_stream import RestoreStream
from mediaagent.turns import Turns
from mediaagent.watchdog import Watchdog
from proto import restore_pb2
from proto.data_plane import MOST_LEAVES, FramedLeaf, frame_leaf, joined, pack_restore, unpack_extents
from proto.restore_pb2_grpc import RestoresServicer
from runtime.logs import log

_OPEN_POINTS = 64
_MOST_SEGMENTS = 256


class RestoreService(RestoresServicer):
    """Each call: whose ticket, which recovery point, and what it holds."""

    def __init__(
        self, access: Access, pools: OpenPools, watchdog: Watchdog, turns: Turns, metrics: ServerMetrics
    ) -> None:
        self._access = access
        self._pools = pools
        self._watchdog = watchdog
        self._turns = turns
        self._metrics = metrics
        self._points: OrderedDict[tuple[str, int], RecoveryPoint] = OrderedDict()
        self._lock = threading.Lock()

    def _point(self, pool_id: str, text: str, context: grpc.ServicerContext) -> tuple[OpenPool, RecoveryPoint, Grant]:
        """A recovery point that the caller's ticket covers."""
        grant = self._access.grant(context, "restore", pool_id)
        served = self._pools.get(pool_id)
        try:
            sid = int(text, 16)
        except ValueError:
            raise PointMissing(f"{text[:40]}: expected the id of a recovery point") from None
        with self._lock:
            point = self._points.get((pool_id, sid))
        if point is None:
            point = read_point(served.pool, _live(served, sid))
            with self._lock:
                self._points[pool_id, sid] = point
                if len(self._points) > _OPEN_POINTS:
                    self._points.popitem(last=False)
        grant.require_point(point.id, point.machine.id)
        return served, point, grant

    def ListPoints(
        self, request: restore_pb2.ListPointsRequest, context: grpc.ServicerContext
    ) -> restore_pb2.ListPointsReply:
        grant = self._access.grant(context, "restore", request.pool)
        machine, points = grant.ticket.machine, grant.ticket.points
        commits = list_points(self._pools.get(request.pool).pool).commits
        ours = [commit for commit in commits if commit.machine.id == machine]
        covered = [commit for commit in ours if not points or commit.id in points]
        return restore_pb2.ListPointsReply(points=[_told(commit) for commit in covered])

    def OpenPoint(
        self, request: restore_pb2.OpenPointRequest, context: grpc.ServicerContext
    ) -> restore_pb2.OpenPointReply:
        served, point, grant = self._point(request.pool, request.point, context)
        log().info("point opened", point=point.id, pool=served.name, machine=point.machine.id, **grant.about)
        return restore_pb2.OpenPointReply(
            point=_told(point),
            disks=[
                restore_pb2.PointDisk(disk=disk.disk, key=disk.key, size=disk.size, data_bytes=disk.data_bytes)
                for disk in point.disks
            ],
            description=json.dumps(point.description),
            segment_bytes=served.pool.parameters.segment_bytes,
            fingerprint_key=served.pool.keys.fingerprint,
        )

    def DiskSegments(
        self, request: restore_pb2.DiskSegmentsRequest, context: grpc.ServicerContext
    ) -> restore_pb2.DiskSegmentsReply:
        served, point, _ = self._point(request.pool, request.point, context)
        disk = _disk(point, request.disk)
        count = -(-disk.size // served.pool.parameters.segment_bytes)
        lost: list[range] = []  # what cannot be told is asked for, and reported then
        held = [
            segment
            for segment, _ in served.tree.leaves(disk.root, lambda first, n, _: lost.append(range(first, first + n)))
        ]
        held += [segment for one in lost for segment in one if segment < count]
        return restore_pb2.DiskSegmentsReply(bitmap=bitmap(held))

    def ListMarks(
        self, request: restore_pb2.ListMarksRequest, context: grpc.ServicerContext
    ) -> restore_pb2.ListMarksReply:
        served, point, _ = self._point(request.pool, request.point, context)
        marks = [
            restore_pb2.Mark(kind=m.kind.value, time=m.time, who=m.who, note=m.note, until=m.until or "")
            for m in read_marks(served.pool, point.sid)
        ]
        return restore_pb2.ListMarksReply(marks=marks)

    def restore_disk(self, request: restore_pb2.RestoreRequest, context: grpc.ServicerContext) -> Iterator[bytes]:
        """Some segments of a disk."""
        served, point, grant = self._point(request.pool, request.point, context)
        disk = _disk(point, request.disk)
        if not 0 < request.segments <= _MOST_SEGMENTS:
            raise RequestRefused(f"{request.segments} segments, expected 1 to {_MOST_SEGMENTS}")
        held = [Extent(*extent) for extent in unpack_extents(request.held)]
        if held != normal(held):
            raise RequestRefused(f"recovery point {point.id}: extents that are held: expected them normal")
        with self._turns.one(grant), self._watchdog.watch(context) as stream:
            segments = range(request.first_segment, request.first_segment + request.segments)
            for message in RestoreStream(served, disk, segments, held).messages():
                stream.moved()
                raw = pack_restore(message)
                self._metrics.restored_bytes.inc(len(raw))
                yield raw

    def point_leaves(self, request: restore_pb2.PointLeavesRequest, context: grpc.ServicerContext) -> Iterator[bytes]:
        """Leaves of a disk: whoever has a disk like it finds out what of it differs."""
        served, point, _ = self._point(request.pool, request.point, context)
        disk = _disk(point, request.disk)
        if len(request.segments) > MOST_LEAVES:
            raise RequestRefused(f"{len(request.segments)} segments, {MOST_LEAVES} are the most")
        with self._watchdog.watch(context) as stream:
            for message in joined(_framed(served, disk, request.segments)):
                yield message
                stream.moved()


def _framed(served: OpenPool, disk: DiskTree, segments: Iterable[int]) -> Iterator[bytes]:
    for segment in segments:
        ref = served.tree.leaf_ref(disk.root, segment)
        page = b"" if ref is None else b"".join(encode(served.tree.leaf(ref, segment)))
        yield frame_leaf(FramedLeaf(disk.disk, segment, page))


def _live(served: OpenPool, sid: int) -> Commit:
    """A recovery point that has not expired. Raises PointMissing."""
    commit = read_commit(served.pool, sid) if 0 < sid < 1 << 40 else None
    if commit is not None:
        try:
            served.pool.repository.get_extent(expiry_name(sid), 0, 1)
        except ObjectMissing:
            return commit
    raise PointMissing(f"{sid:x}: no such recovery point, or it has expired")


def _disk(point: RecoveryPoint, number: int) -> DiskTree:
    for disk in point.disks:
        if disk.disk == number:
            return disk
    raise RequestRefused(f"recovery point {point.id}: no disk {number}, it has {len(point.disks)}")


def _told(point: Commit | RecoveryPoint) -> restore_pb2.RecoveryPoint:
    return restore_pb2.RecoveryPoint(
        id=point.id,
        machine_id=point.machine.id,
        machine_name=point.machine.name,
        time=point.time,
        parent="" if point.parent is None else f"{point.parent:010x}",
    )
