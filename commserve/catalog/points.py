"""The recovery points that pools hold, as MediaAgents read them back. A cache: losing it loses nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from commserve.store.inserting import put
from commserve.store.tables import machines, points, pools


def take_over(connection: sa.Connection, pool_id: str, found: Sequence[dict[str, Any]], now: datetime) -> int:
    """All points of a pool, as they were just read: what is not among them is gone. How many are unexpired."""
    before = sa.select(points.c.machine_id).where(points.c.pool_id == pool_id).distinct()
    touched = set(connection.execute(before).scalars()) | {point["machine_id"] for point in found}
    connection.execute(sa.delete(points).where(points.c.pool_id == pool_id))
    if found:
        connection.execute(sa.insert(points), [{"pool_id": pool_id, **point} for point in found])
    connection.execute(sa.update(pools).where(pools.c.id == pool_id).values(read_at=now))
    date_machines(connection, touched)
    return sum(not point["expired"] for point in found)


def add(connection: sa.Connection, job: Any) -> None:
    """The point that a backup made, from what its agent said; the next reading of the pool says the same or better."""
    made = job.result
    point_id, time = made.get("recovery_point"), made.get("time")
    if job.pool_id is None or not isinstance(point_id, str) or not isinstance(time, str):
        return  # an agent that does not tell: the reading of the pool will
    row = {
        "pool_id": job.pool_id,
        "id": point_id,
        "machine_id": job.machine_id,
        "machine_name": job.machine_name,
        "time": datetime.fromisoformat(time).astimezone(UTC),
        "parent": made.get("parent") or "",
        "disk_bytes": job.total_bytes,
        "data_bytes": int(made.get("data_bytes", 0)),
        "stored_bytes": int(made.get("stored_bytes", 0)),
        "expired": False,
        "marks": [],
    }
    put(connection, points, row)
    date_machines(connection, [job.machine_id])


def expire(connection: sa.Connection, pool_id: str, point_ids: Iterable[str]) -> None:
    """They are expired in the repository; so they are here."""
    gone = sa.and_(points.c.pool_id == pool_id, points.c.id.in_(list(point_ids)))
    touched = set(connection.execute(sa.select(points.c.machine_id).where(gone)).scalars())
    connection.execute(sa.update(points).where(gone).values(expired=True))
    date_machines(connection, touched)


def date_machines(connection: sa.Connection, machine_ids: Iterable[str]) -> None:
    """Each machine's newest good point, which the promise is measured by."""
    for machine_id in sorted(machine_ids):
        good = sa.select(points.c.time, points.c.marks).where(
            points.c.machine_id == machine_id, points.c.expired.is_(False)
        )
        rows = connection.execute(good.order_by(points.c.time.desc()))
        newest = next((row.time for row in rows if "suspect" not in row.marks), None)
        connection.execute(sa.update(machines).where(machines.c.id == machine_id).values(last_point_at=newest))
