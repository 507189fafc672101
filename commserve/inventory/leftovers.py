"""What dead work left at machines: snapshots of ours, layers that wait for consolidation, machines half-made.

Agents tell what is there. Whether the work that it belongs to is over, only we know: that is decided here, and removed
by `clean` jobs.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from commserve.faults import StateForbids
from commserve.jobs.kinds import URGENT, USUAL, Wanted
from commserve.jobs.progress import Progress
from commserve.jobs.states import ACTIVE
from commserve.moments import text_of
from commserve.store.tables import jobs, leases, machines

_AGAIN = timedelta(hours=1)  # after a try, whatever came of it
_OLD = timedelta(days=1)  # a snapshot that is told of, though nobody can say that it may go


def _with_some(*more: sa.ColumnElement[bool]) -> sa.Select[Any]:
    some = sa.cast(machines.c.leftovers, sa.Text) != "{}"
    return sa.select(machines).where(some, machines.c.gone_at.is_(None), *more).order_by(machines.c.id)


def wanted(connection: sa.Connection, progress: Progress, now: datetime) -> list[Wanted]:
    """A job for each machine at which something is left that may go, that nobody works on, and not tried lately."""
    rows = connection.execute(_with_some()).all()
    if not rows:
        return []
    ids = [row.id for row in rows]
    tried = sa.select(jobs.c.machine_id).where(jobs.c.kind == "clean", jobs.c.created_at > now - _AGAIN)
    busy = sa.select(jobs.c.machine_id).where(jobs.c.kind != "clean", jobs.c.state.in_(ACTIVE))
    left_out = {
        key for found in (tried, busy) for key in connection.execute(found.where(jobs.c.machine_id.in_(ids))).scalars()
    }
    return [clean_of(row, now) for row in rows if row.id not in left_out and _may_go(connection, progress, row, now)]


def _may_go(connection: sa.Connection, progress: Progress, row: Any, now: datetime) -> bool:
    """Layers of machines that we never had a snapshot of are their owner's business."""
    left = row.leftovers
    over = [progress.surely_ended(connection, each["job"], each["fence"], now) for each in left["snapshots"]]
    if not all(over):
        return False
    return bool(over) or (left["consolidation_needed"] and row.last_point_at is not None)


def clean_of(row: Any, now: datetime, requested_by: str = "", half_made_by: str = "") -> Wanted:
    """A job that cleans one machine (a row)."""
    return Wanted(
        kind="clean",
        subject=f"clean:{row.id}",
        due_at=now,
        deadline_at=now + _AGAIN,
        requested_by=requested_by,
        urgency=URGENT if requested_by else USUAL,
        hypervisor_id=row.hypervisor_id,
        machine_id=row.id,
        machine_name=row.name,
        attempts_allowed=1,
        arguments={"half_made_by": half_made_by},
    )


def half_made_by(connection: sa.Connection, progress: Progress, row: Any, now: datetime) -> str:
    """The restore job that left this machine (a row) half-made and does not work on it any more.

    Raises StateForbids: none is known, it goes on, or it overwrote a machine that was there before.
    """
    key = str(row.leftovers.get("restoring", ""))
    if not key:
        raise StateForbids(f"machine {row.name}: expected one that a restore left half-made")
    job = connection.execute(sa.select(jobs).where(jobs.c.id == key)).one_or_none()
    machine = job.arguments.get("machine") if job is not None else None
    if job is None or machine is None:
        raise StateForbids(f"machine {row.name}: restore job {key} is not known here, so delete it in the client")
    if machine["how"] != "new":
        raise StateForbids(f"machine {row.name}: job {key} overwrote its disks, it did not make it; restore it again")
    fences = connection.execute(sa.select(leases.c.fence).where(leases.c.job_id == key)).scalars().all()
    over = all(progress.surely_ended(connection, key, fence, now) for fence in fences)
    if job.state in ACTIVE or not over:
        raise StateForbids(f"machine {row.name}: restore job {key} may still work on it")
    return key


def told(connection: sa.Connection, progress: Progress, hypervisor_id: str, now: datetime) -> list[str]:
    """In words, for people: what is left and does not go by itself."""
    words = []
    for row in connection.execute(_with_some(machines.c.hypervisor_id == hypervisor_id)):
        left = row.leftovers
        for each in left["snapshots"]:
            old = each["taken_at"] < text_of(now - _OLD)
            known = sa.select(leases.c.fence).where(leases.c.job_id == each["job"], leases.c.fence == each["fence"])
            lease = connection.execute(known).one_or_none()
            whose = f"machine {row.name}: a snapshot of job {each['job']}, lease {each['fence']}"
            if lease is None:
                words.append(f"{whose} is left, and that lease is not known here: remove it in the vSphere client")
            elif old and progress.surely_ended(connection, each["job"], each["fence"], now):
                words.append(f"{whose}, is left since {each['taken_at']}: the machine's clean job says why")
        if left["restoring"]:
            over = sa.select(jobs.c.id).where(jobs.c.id == left["restoring"], jobs.c.state.in_(ACTIVE))
            if connection.execute(over).one_or_none() is None:
                words.append(f"machine {row.name}: the restore of job {left['restoring']} left it half-made")
    return words
