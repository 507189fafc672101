"""Verification, and what follows from it: marks on the points, and an index that forgets what is damaged.

A point that a restore would not bring back whole is marked suspect: it is no longer a parent by itself. The
containers that hold damage are forgotten by the index on this machine, so that the next backup stores their chunks
again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from ingot.embedded import Progress, Repo
from media.faults import DamageFault, RepositoryFault
from media.ids import sid_text
from media.marks import MarkKind, put_mark
from media.reader import Lost
from media.recovery_point import Commit, Points, RecoveryPoint, read_point
from media.verify import DamagedContainer, Verification, containers_of_lost, verify_point
from mediaagent.ddb.pool_index import forget_containers
from runtime.tasks import worker_count


@dataclass
class Checked:
    """One recovery point after verification. `fault`: its register or detail cannot be read. `lost` is by disk."""

    id: str
    machine: str | None
    bytes: int = 0
    fault: DamageFault | None = None
    lost: dict[int, list[Lost]] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        return self.fault is None and not self.lost


@dataclass
class Result:
    """What was verified. `containers` and `damaged` are only known when everything was read."""

    points: list[Checked]
    containers: int | None = None
    damaged: dict[int, DamagedContainer] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        return not self.damaged and all(point.good for point in self.points)


def newest_of_each(points: Points) -> list[Commit]:
    """What one would restore today: the newest point of every machine, oldest first."""
    newest = {commit.machine.id: commit for commit in points.commits}
    return sorted(newest.values(), key=lambda commit: commit.sid)


def verify_points(repo: Repo, commits: list[Commit], index: Path | None, progress: Progress) -> Result:
    """Read these points as restores would, to nowhere, and mark them."""
    checked: list[Checked] = []
    damaged: set[int] = set()
    for commit in commits:
        one = Checked(commit.id, commit.machine.name)
        checked.append(one)
        try:
            point = read_point(repo.pool, commit)
        except DamageFault as fault:
            one.fault = fault
        else:
            damaged |= _verify(repo, point, one, progress)
        _mark(repo, commit, good=one.good)
    _forget(repo, index, damaged)
    return Result(checked)


def verify_everything(repo: Repo, points: Points, index: Path | None, progress: Progress) -> Result:
    """Read every container whole and every point's pages, and mark every point."""
    verification = Verification(
        repo.pool,
        repo.containers,
        worker_count(),
        lambda total: progress.begin("verify", total),
        progress.advance,
    )
    verdict = verification.run(points)
    checked = [Checked(sid_text(sid), None, fault=fault) for sid, fault in points.damaged.items()]
    for commit in points.commits:
        fault = verdict.unreadable_points.get(commit.sid)
        one = Checked(commit.id, commit.machine.name, fault=fault, lost=verdict.lost.get(commit.sid, {}))
        checked.append(one)
        _mark(repo, commit, good=one.good)
    _forget(repo, index, set(verdict.damaged))
    return Result(checked, verdict.containers, verdict.damaged)


def _verify(repo: Repo, point: RecoveryPoint, one: Checked, progress: Progress) -> set[int]:
    """Fill in what is lost of a point; the containers that its lost chunks should lie in."""
    progress.begin(f"verify {point.id}", sum(disk.size for disk in point.disks))
    damaged: set[int] = set()
    outcomes = verify_point(repo.pool, repo.containers, point, worker_count(), progress.advance)
    for disk, outcome in zip(point.disks, outcomes, strict=True):
        one.bytes += outcome.bytes_written
        if outcome.lost:
            one.lost[disk.disk] = outcome.lost
            damaged |= containers_of_lost(repo.pool, repo.containers, disk, outcome.lost_extents)
    return damaged


def _forget(repo: Repo, index: Path | None, cids: set[int]) -> None:
    note = forget_containers(repo.pool, index, cids)
    if note is not None:
        repo.notes.append(note)


def _mark(repo: Repo, commit: Commit, *, good: bool) -> None:
    kind = MarkKind.VERIFIED if good else MarkKind.SUSPECT
    try:
        put_mark(repo.pool, commit.sid, kind, f"ingot verify on {os.uname().nodename}", "", repo.clock)
    except RepositoryFault as fault:
        repo.notes.append(f"{commit.id}: the mark `{kind.value}` could not be put: {fault}")
