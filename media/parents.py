"""Which recovery point a new one inherits from."""

from __future__ import annotations

from media.faults import DamageFault, ParentUnfit
from media.marks import MarkKind, is_unfaithful, read_marks
from media.pool import Pool
from media.recovery_point import Commit, list_points

AUTO, NONE = "auto", "none"


def choose_parent(pool: Pool, machine_id: str, parent: str) -> tuple[Commit | None, list[str]]:
    """The parent that a person or plan asks for, and what to tell about it.

    `auto` is the newest of the machine, `none` is none, anything else an id. Raises ParentUnfit for another machine's,
    PointMissing.
    """
    if parent == NONE:
        return None, []
    points = list_points(pool)
    chosen = points.newest_of(machine_id) if parent == AUTO else points.find(parent)
    if chosen is None:
        return None, []
    if chosen.machine.id != machine_id:
        raise ParentUnfit(f"parent {parent}: expected a recovery point of {machine_id}, found {chosen.machine.name}'s")
    if is_suspect(pool, chosen):
        # Older points share its data, so they may be hit as well; reading everything costs nothing but time.
        return None, [f"backed up without a parent, because {chosen.id} is marked suspect"]
    return chosen, []


def is_suspect(pool: Pool, commit: Commit) -> bool:
    """Whether the last verification found damage. Marks that cannot be read say that it did."""
    try:
        marks = read_marks(pool, commit.sid)
    except DamageFault:
        return True
    if is_unfaithful(marks):
        return True
    verdicts = [mark.kind for mark in marks if mark.kind in (MarkKind.SUSPECT, MarkKind.VERIFIED)]
    return verdicts[-1:] == [MarkKind.SUSPECT]
