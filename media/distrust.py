"""Recovery points that hold what a disk did not: marked suspect, back to the moment at which they were last proven."""

from __future__ import annotations

from collections.abc import Iterable

from media.marks import TRACKING, MarkKind, put_mark
from media.pool import Pool
from media.proof import proof_of
from media.recovery_point import RecoveryPoint, read_commit, read_point
from runtime.clock import Clock


def mark_unproven(pool: Pool, newest: RecoveryPoint, key: str, places: Iterable[int], clock: Clock) -> list[str]:
    """Mark `newest` and the points before it in which a cell of a disk, at one of these places of its walk, was never
    compared with the disk; the ids of those marked, newest first.

    A point that read the disk whole, or read those cells, was right then, and so are those before it, as far as one can
    know. Raises DamageFault, RepositoryFault.
    """
    marked: list[str] = []
    left = set(places)
    point: RecoveryPoint | None = newest
    while point is not None:
        disk = next((disk for disk in point.disks if disk.key == key), None)
        if disk is None or point.parent is None:
            break
        proof = proof_of(disk.proof)
        if proof is not None:
            left = {place for place in left if not proof.covers(place)}
        if not left:
            break
        note = f"disk {key}: change tracking called unchanged what was not; restored bytes may be of an older moment"
        put_mark(pool, point.sid, MarkKind.SUSPECT, TRACKING, note, clock)
        marked.append(point.id)
        commit = read_commit(pool, point.parent)
        point = None if commit is None else read_point(pool, commit)
    return marked
