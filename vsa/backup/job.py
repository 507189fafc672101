"""A `backup` assignment: one machine held still, its disks into a session at a MediaAgent, a recovery point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from media.backup import Backup, Report
from media.faults import ParentDamaged
from media.ids import sid_text
from media.recovery_point import Machine
from proto import agents_pb2
from proto.agent.work import Work
from runtime.certificates import Identity
from runtime.clock import Waiting
from runtime.tasks import worker_count
from vsa.backup.leased_log import LeasedLog
from vsa.backup.remote_log import RemoteLog, Wanted
from vsa.faults import MachineMoved
from vsa.hypervisors import Held, Purpose, QuiesceLevel, Wish
from vsa.hypervisors.known import Known
from vsa.media_agent import MediaAgentLine
from vsa.reach import reached

LEVELS: dict[int, QuiesceLevel] = {
    agents_pb2.Hold.CRASH: "crash",
    agents_pb2.Hold.FILESYSTEM: "filesystem",
    agents_pb2.Hold.APPLICATION: "application",
}
_MOVES = 3  # of a machine during one backup, before it is left for later


@dataclass(frozen=True)
class Means:
    """What this agent does its work with."""

    identity: Identity
    clock: Waiting
    workers: int  # threads of one backup or restore; 0: as many as cores, five at most
    ended: Callable[[str, int], bool]  # whether the CommServe says that this lease of a job is over for certain
    known: Known


def back_up(work: Work, means: Means) -> dict[str, Any]:
    """The whole of it; what the recovery point is.

    A parent that is damaged costs reading everything, and a warning. Raises what is named by `media.backup.Backup.run`,
    the hypervisor, and MediaAgentUnreachable.
    """
    wanted = work.assignment.backup
    hypervisor = means.known.open(wanted.hypervisor)
    began = means.clock.monotonic_seconds()
    with (
        reached(work, wanted.media_agents, means.identity, means.clock) as line,  # before a machine is held for nothing
        hypervisor.hold(wanted.machine.id, _purpose(work, means)) as held,
    ):
        report = _read(work, means, line, held)
    point = report.point
    return {
        "recovery_point": point.id,
        "parent": None if point.parent is None else sid_text(point.parent),
        "time": point.time,
        "seconds": means.clock.monotonic_seconds() - began,
        "phases": report.phases,
        **point.statistics,
        **_told(held.report(), report),
    }


def _told(how: dict[str, Any], report: Report) -> dict[str, Any]:
    """How it was held, and for each disk what was proven of what was called unchanged."""
    for disk in how.get("disks", []):
        proof = report.proofs.get(disk["key"])
        if proof is not None:
            disk["proof"] = proof
    return how


def _purpose(work: Work, means: Means) -> Purpose:
    assignment, hold = work.assignment, work.assignment.backup.hold
    return Purpose(
        site=hold.site,
        job=assignment.job,
        fence=assignment.fence,
        wish=_wish(hold),
        warn=work.warnings.append,
        check=work.check,
        ended=means.ended,
        clock=means.clock,
    )


def _wish(hold: agents_pb2.Hold) -> Wish:
    """What is not said is as a plan has it that says nothing."""
    usual = Wish()
    return Wish(
        quiesce=LEVELS.get(hold.quiesce, usual.quiesce),
        fall_back=not hold.fails_unquiesced,
        excluded=frozenset(hold.excluded),
        snapshot_minutes=hold.snapshot_minutes or usual.snapshot_minutes,
        proof_days=hold.proof_days if hold.HasField("proof_days") else usual.proof_days,
    )


def _read(work: Work, means: Means, line: MediaAgentLine, held: Held) -> Report:
    """Once; and again without a damaged parent, or when the machine moved while it was read."""
    parent, moved = work.assignment.backup.parent, 0
    while True:
        try:
            return _run(work, means, line, held, parent)
        except ParentDamaged as fault:
            if parent == "none":
                raise
            work.warnings.append(f"backed up without a parent, because it is damaged: {fault}")
            parent = "none"
        except MachineMoved as fault:
            moved += 1
            if moved == _MOVES:
                raise
            work.warnings.append(f"read again: {fault}")


def _run(work: Work, means: Means, line: MediaAgentLine, held: Held, parent: str) -> Report:
    wanted = work.assignment.backup
    machine = Machine(held.machine.id, held.machine.name)
    log = RemoteLog.begin(line, Wanted(wanted.pool.id, machine, list(held.disks), parent or "auto"), means.clock)
    work.warnings.extend(log.notes)
    leased = LeasedLog(log, work, means.clock)
    workers = wanted.streams or means.workers or worker_count()
    try:
        work.begin("backup", sum(disk.size for disk in held.disks))
        sources = held.sources(log.parent)
    except BaseException:
        log.abort("stopped")
        raise

    def distrusted(key: str, points: list[str]) -> None:
        held.distrust(key)
        name = next((disk.name for disk in held.machine.disks if disk.key == key), key)
        marked = f"suspect are now {', '.join(points)}" if points else "no earlier point builds on it"
        work.warnings.append(f"{name}: change tracking called unchanged what was not; all of it was read; {marked}")

    backup = Backup(leased, sources, means.clock, wanted.level or 1, workers, work.advance, held.let_go, distrusted)
    return backup.run(dict(held.description))
