"""A machine that goes on elsewhere: moved to another vCenter, or its vCenter was built anew.

A vCenter's machine is called `<vCenter's uuid>:<machine's instance uuid>`. In another vCenter it has the same instance
uuid and the same disks, and another id. Its row and its recovery points keep the id that they have, and `seen_as` is
what the new vCenter calls it; content decides what a backup stores, so the history goes on without a break.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from commserve.store.tables import hypervisors, machines

_PERIODS = 2  # of discovery: who was not seen for so long is not there any more, whether or not anybody can ask


class Continuing:
    """What the machines that one hypervisor sees are called here."""

    def __init__(self, connection: sa.Connection, hypervisor_id: str, known: Mapping[str, Any], now: datetime) -> None:
        self._known = known
        self._here = hypervisor_id
        self._now = now
        self._id_by_seen = {
            row.seen_as: row.id for row in known.values() if row.seen_as and row.hypervisor_id == hypervisor_id
        }
        self._by_identity: dict[Any, list[Any]] = {}
        for row in known.values():
            if row.hypervisor_id != hypervisor_id:
                self._by_identity.setdefault(_identity(row.id, row.disks), []).append(row)
        periods = connection.execute(sa.select(hypervisors.c.id, hypervisors.c.discover_minutes))
        self._minutes = {row.id: row.discover_minutes for row in periods}

    def id_of(self, machine: Mapping[str, Any]) -> tuple[str, str | None]:
        """The id that a machine found has here, and why it has to wait, where it must."""
        seen = machine["id"]
        if seen in self._id_by_seen:
            return self._id_by_seen[seen], None
        identity = _identity(seen, machine["disks"])
        if seen in self._known or identity is None:
            return seen, None
        others = self._by_identity.get(identity, [])
        left = [row for row in others if self._left(row)]
        if left:
            return max(left, key=lambda row: row.last_seen_at).id, None
        if others:
            return seen, f"machine {machine['name']!r}: it is in another hypervisor too, as {others[0].id!r}"
        return seen, None

    def _left(self, row: Any) -> bool:
        """Whether a machine is not where it was."""
        patience = timedelta(minutes=_PERIODS * self._minutes.get(row.hypervisor_id, 0))
        return row.gone_at is not None or self._now - row.last_seen_at > patience


def adopt(connection: sa.Connection, old_id: str, new_id: str, now: datetime) -> int:
    """Hypervisor `old_id` will not come back: its machines go on as those of `new_id` with their instance uuid.

    Also where their disks changed, because a person says so; not where the new one has points of its own already. How
    many go on; the others are gone.
    """
    rows = connection.execute(sa.select(machines)).all()
    fresh = {_uuid(row.id): row for row in rows if row.hypervisor_id == new_id and row.last_point_at is None}
    count = 0
    for row in rows:
        if row.hypervisor_id != old_id:
            continue
        twin = fresh.get(_uuid(row.id)) if _uuid(row.id) else None
        change = sa.update(machines).where(machines.c.id == row.id)
        if twin is None:
            if row.gone_at is None:
                connection.execute(change.values(gone_at=now, plan_id=None, rule_id=None))
            continue
        connection.execute(sa.delete(machines).where(machines.c.id == twin.id))
        connection.execute(
            change.values(
                hypervisor_id=new_id,
                seen_as=twin.seen_as or twin.id,
                gone_at=None,
                rule_id=twin.rule_id,
                plan_id=twin.plan_id,
                source=twin.source,
            )
        )
        count += 1
    return count


def _uuid(machine_id: str) -> str | None:
    """The instance uuid in an id; None where a hypervisor has other ids."""
    first, colon, last = machine_id.partition(":")
    return last if colon and len(first) == len(last) == 36 else None


def _identity(machine_id: str, disks: Iterable[Mapping[str, Any]]) -> tuple[str, frozenset[str]] | None:
    uuid, keys = _uuid(machine_id), frozenset(disk["key"] for disk in disks)
    return (uuid, keys) if uuid and keys else None
