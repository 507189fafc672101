"""A `restore` assignment: disks of a recovery point as image files below a landing directory, or into a machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from media.faults import TargetUnwritable
from media.reader import Outcome
from proto import agents_pb2, restore_pb2
from proto.agent.work import Work
from runtime.tasks import worker_count
from vsa.backup.job import Means
from vsa.disks.target import FileTarget, open_target
from vsa.faults import RestoreUnfit
from vsa.landing import opened
from vsa.media_agent import MediaAgentLine
from vsa.reach import reached
from vsa.restore.finished import Finished
from vsa.restore.into_machine import restore_machine
from vsa.restore.remote_disk import RemoteDiskRestore, RemotePoint, open_point

_LOST_SHOWN = 20


def restore(work: Work, means: Means, landings: Sequence[Path]) -> dict[str, Any]:
    """Bring back each disk that was asked for; what was lost is told, and is a warning.

    Raises RestoreUnfit, LandingRefused, MediaAgentUnreachable, Target faults, and what MediaAgent and hypervisor do.
    """
    wanted = work.assignment.restore
    if wanted.format not in ("", "raw"):
        raise RestoreUnfit(f"format {wanted.format!r}: expected raw")
    began = means.clock.monotonic_seconds()
    with reached(work, wanted.media_agents, means.identity, means.clock) as line:
        point = open_point(line, wanted.pool.id, wanted.point)
        disks = _disks(point, list(wanted.disks))
        work.begin("restore", sum(disk.size for disk in disks))
        if wanted.WhichOneof("target") == "machine":
            about, outcomes = restore_machine(work, means, line, point, disks)
        else:
            about, outcomes = _to_directory(work, means, line, point, disks, landings)
    for disk, outcome in zip(disks, outcomes, strict=True):
        for lost in outcome.lost[:_LOST_SHOWN]:
            work.warnings.append(
                f"disk {disk.disk}: {lost.extent.length} bytes at {lost.extent.offset} are lost: {lost.fault}"
            )
    return {
        "recovery_point": point.id,
        **about,
        "bytes_written": sum(outcome.bytes_written for outcome in outcomes),
        "kept_bytes": sum(outcome.kept_bytes for outcome in outcomes),
        "lost_bytes": sum(extent.length for outcome in outcomes for extent in outcome.lost_extents),
        "seconds": means.clock.monotonic_seconds() - began,
    }


def into(work: Work) -> str:
    """Where a restore goes to: `directory`, or how a machine gets the disks: `new`, `in_place`, `attach`."""
    wanted = work.assignment.restore
    if wanted.WhichOneof("target") != "machine":
        return "directory"
    return agents_pb2.MachineTarget.How.Name(wanted.machine.how).lower()


def _to_directory(
    work: Work,
    means: Means,
    line: MediaAgentLine,
    point: RemotePoint,
    disks: list[restore_pb2.PointDisk],
    landings: Sequence[Path],
) -> tuple[dict[str, Any], list[Outcome]]:
    """`disk-<n>.raw` for each; those that an attempt before finished stay."""
    name = work.assignment.restore.directory
    outcomes = []
    with opened(landings, name) as directory:
        finished = Finished(directory, work.assignment.job)
        for disk in disks:
            outcome = finished.outcome(_name(disk))
            if outcome is None:
                outcome = _one(work, means, line, point, disk, directory, finished)
            else:
                work.advance(disk.size)
            outcomes.append(outcome)
        finished.remove()
    files = [{"disk": disk.disk, "size": disk.size, "file": _name(disk)} for disk in disks]
    return {"directory": name, "disks": files}, outcomes


def _one(
    work: Work,
    means: Means,
    line: MediaAgentLine,
    point: RemotePoint,
    disk: restore_pb2.PointDisk,
    directory: Path,
    finished: Finished,
) -> Outcome:
    path = directory / _name(disk)
    with open_target(path, disk.size, overwrite=work.assignment.restore.overwrite) as target:
        streams = means.workers or worker_count()
        outcome = RemoteDiskRestore(line, point, disk, target, streams, work.advance).run()
        if isinstance(target, FileTarget):
            try:
                finished.note(path.name, target.stat(), outcome)
            except OSError as error:
                raise TargetUnwritable(f"{path}: {error.strerror}") from error
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
