"""A `restore` assignment: disks of a recovery point as image files below a landing directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from media.reader import Outcome
from proto import restore_pb2
from proto.agent.work import Work
from runtime.tasks import worker_count
from vsa.backup.job import Means
from vsa.disks.target import open_target
from vsa.faults import RestoreUnfit
from vsa.landing import opened
from vsa.media_agent import MediaAgentLine
from vsa.reach import reached
from vsa.restore.remote_disk import RemoteDiskRestore, RemotePoint, open_point

_LOST_SHOWN = 20


def restore(work: Work, means: Means, landings: Sequence[Path]) -> dict[str, Any]:
    """Write `disk-<n>.raw` for each disk that was asked for; what was lost is told, and is a warning.

    Raises RestoreUnfit, LandingRefused, MediaAgentUnreachable, Target faults, and what the MediaAgent does.
    """
    wanted = work.assignment.restore
    if wanted.format not in ("", "raw"):
        raise RestoreUnfit(f"format {wanted.format!r}: expected raw")
    began = means.clock.monotonic_seconds()
    with reached(work, wanted.media_agents, means.identity, means.clock) as line:
        point = open_point(line, wanted.pool.id, wanted.point)
        disks = _disks(point, list(wanted.disks))
        work.begin("restore", sum(disk.size for disk in disks))
        with opened(landings, wanted.directory) as directory:
            outcomes = [_one(work, means, line, point, disk, directory) for disk in disks]
    for disk, outcome in zip(disks, outcomes, strict=True):
        for lost in outcome.lost[:_LOST_SHOWN]:
            work.warnings.append(
                f"disk {disk.disk}: {lost.extent.length} bytes at {lost.extent.offset} are lost: {lost.fault}"
            )
    return {
        "recovery_point": point.id,
        "directory": wanted.directory,
        "disks": [{"disk": disk.disk, "size": disk.size, "file": _name(disk)} for disk in disks],
        "bytes_written": sum(outcome.bytes_written for outcome in outcomes),
        "lost_bytes": sum(extent.length for outcome in outcomes for extent in outcome.lost_extents),
        "seconds": means.clock.monotonic_seconds() - began,
    }


def _one(
    work: Work, means: Means, line: MediaAgentLine, point: RemotePoint, disk: restore_pb2.PointDisk, directory: Path
) -> Outcome:
    with open_target(directory / _name(disk), disk.size, overwrite=work.assignment.restore.overwrite) as target:
        streams = means.workers or worker_count()
        outcome = RemoteDiskRestore(line, point, disk, target, streams, work.advance).run()
        target.finish()
    return outcome


def _disks(point: RemotePoint, numbers: list[int]) -> list[restore_pb2.PointDisk]:
    found = [disk for disk in point.opened.disks if not numbers or disk.disk in numbers]
    missing = sorted(set(numbers) - {disk.disk for disk in found})
    if missing:
        there = ", ".join(str(disk.disk) for disk in point.opened.disks)
        raise RestoreUnfit(f"{point.id}: expected one of its disks {there}, found {missing[0]}")
    return found


def _name(disk: restore_pb2.PointDisk) -> str:
    return f"disk-{disk.disk}.raw"
