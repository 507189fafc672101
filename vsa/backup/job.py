"""A `backup` assignment: one machine held still, its disks into a session at a MediaAgent, a recovery point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from media.backup import Backup, Report
from media.faults import ParentDamaged
from media.ids import sid_text
from media.recovery_point import Machine
from media.session_log import DiskName
from proto.agent.work import Work
from runtime.certificates import Identity
from runtime.clock import Waiting
from runtime.tasks import worker_count
from vsa.backup.leased_log import LeasedLog
from vsa.backup.remote_log import RemoteLog, Wanted
from vsa.hypervisors import Held
from vsa.hypervisors.known import open_hypervisor
from vsa.media_agent import MediaAgentLine
from vsa.reach import reached


@dataclass(frozen=True)
class Means:
    """What this agent does its work with."""

    identity: Identity
    clock: Waiting
    workers: int  # threads of one backup or restore; 0: as many as cores, five at most


def back_up(work: Work, means: Means) -> dict[str, Any]:
    """The whole of it; what the recovery point is.

    A parent that is damaged costs reading everything, and a warning. Raises what is named by `media.backup.Backup.run`,
    the hypervisor, and MediaAgentUnreachable.
    """
    wanted = work.assignment.backup
    source = wanted.hypervisor
    hypervisor = open_hypervisor(source.name, source.kind, source.settings, means.clock)
    began = means.clock.monotonic_seconds()
    with (
        hypervisor.hold(wanted.machine.id) as held,
        reached(work, wanted.media_agents, means.identity, means.clock) as line,
    ):
        try:
            report = _run(work, means, line, held, wanted.parent)
        except ParentDamaged as fault:
            work.warnings.append(f"backed up without a parent, because it is damaged: {fault}")
            report = _run(work, means, line, held, "none")
    point = report.point
    return {
        "recovery_point": point.id,
        "parent": None if point.parent is None else sid_text(point.parent),
        "time": point.time,
        "seconds": means.clock.monotonic_seconds() - began,
        "phases": report.phases,
        **point.statistics,
    }


def _run(work: Work, means: Means, line: MediaAgentLine, held: Held, parent: str) -> Report:
    wanted = work.assignment.backup
    disks = [DiskName(source.key, source.disk.size) for source in held.sources]
    machine = Machine(held.machine.id, held.machine.name)
    log = RemoteLog.begin(line, Wanted(wanted.pool.id, machine, disks, parent or "auto"), means.clock)
    work.warnings.extend(log.notes)
    leased = LeasedLog(log, work, means.clock)
    workers = wanted.streams or means.workers or worker_count()
    try:
        work.begin("backup", sum(disk.size for disk in disks))
    except BaseException:
        log.abort("stopped")
        raise
    backup = Backup(leased, held.sources, means.clock, wanted.level or 1, workers, work.advance)
    return backup.run(dict(held.description))
