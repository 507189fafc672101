"""A machine that goes on elsewhere: moved to another vCenter, or its vCenter was built anew.

A vCenter's machine is called `<vCenter's uuid>:<machine's instance uuid>`. In another vCenter it has the same instance
uuid and the same disks, and another id; or other disks, where a restore of ours made it with the identity that it had.
Its row and its recovery points keep the id that they have, and `seen_as` is what the new vCenter calls it; content
decides what a backup stores, so the history goes on without a break.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from commserve.jobs.states import State
from commserve.store.tables import hypervisors, jobs, machines

_UUID_LENGTH = 36
_UUID_AT = _UUID_LENGTH + 1  # of the machine's own uuid in an id, behind that of its vCenter and a colon
_PERIODS = 2  # of discovery: who was not seen for so long is not there any more, whether or not anybody can ask


def may_be(hypervisor_id: str, told: Iterable[str]) -> sa.ColumnElement[bool]:
    """Of rows of machines: those that a hypervisor may mean by these ids, whatever they are called here."""
    ids = sorted(told)
    uuids = [uuid for uuid in map(_uuid, ids) if uuid]
    return sa.or_(
        machines.c.id.in_(ids),
        sa.and_(machines.c.hypervisor_id == hypervisor_id, machines.c.seen_as.in_(ids)),
        sa.func.substr(machines.c.id, _UUID_AT + 1).in_(uuids),
    )


class Continuing:
    """What the machines that one hypervisor sees are called here."""

    def __init__(self, connection: sa.Connection, hypervisor_id: str, known: Mapping[str, Any], now: datetime) -> None:
        self._connection = connection
        self._known = known
        self._here = hypervisor_id
        self._now = now
        self._id_by_seen = {
            row.seen_as: row.id for row in known.values() if row.seen_as and row.hypervisor_id == hypervisor_id
        }
        self._by_uuid: dict[str, list[Any]] = {}
        for row in known.values():
            uuid = _uuid(row.id)
            if uuid and row.hypervisor_id != hypervisor_id:
                self._by_uuid.setdefault(uuid, []).append(row)
        periods = connection.execute(sa.select(hypervisors.c.id, hypervisors.c.discover_minutes))
        self._minutes = {row.id: row.discover_minutes for row in periods}

    def id_of(self, machine: Mapping[str, Any]) -> tuple[str, str | None]:
        """The id that a machine found has here, and why it has to wait, where it must."""
        seen = machine["id"]
        if seen in self._id_by_seen:
            return self._id_by_seen[seen], None
        if seen in self._known:
            return seen, None
        others = [row for row in self._by_uuid.get(_uuid(seen) or "", ()) if self._same(row, machine)]
        left = [row for row in others if self._left(row)]
        if left:
            return max(left, key=lambda row: row.last_seen_at).id, None
        if others:
            return seen, f"machine {machine['name']!r}: it is in another hypervisor too, as {others[0].id!r}"
        return seen, None

    def _same(self, row: Any, machine: Mapping[str, Any]) -> bool:
        """Whether machines with one instance uuid are one. Files that were copied by hand have the same, too."""
        keys = _keys(machine["disks"])
        return (bool(keys) and keys == _keys(row.disks)) or row.id in self._restored_here

    @cached_property
    def _restored_here(self) -> frozenset[str]:
        """The machines that came back here with the identity that they had, or are coming."""
        target = jobs.c.arguments["machine"]
        wanted = sa.select(jobs.c.machine_id).where(
            jobs.c.kind == "restore",
            jobs.c.state.notin_([State.FAILED, State.CANCELLED]),
            target["hypervisor_id"].as_string() == self._here,
            target["keep_identity"].as_boolean(),
        )
        return frozenset(self._connection.execute(wanted).scalars())

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
    return last if colon and len(first) == len(last) == _UUID_LENGTH else None


def _keys(disks: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    return frozenset(disk["key"] for disk in disks)
