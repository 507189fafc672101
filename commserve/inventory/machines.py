"""The machines that were discovered, and which rule and plan each has."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from commserve.inventory.continuing import Continuing, may_be
from commserve.inventory.rules import Conditions, Rule, assign
from commserve.store.tables import hypervisors, machines, points, rules

_LONGEST_ID = 200
_FEW = 2000  # machines
_MATCHED = ("name", "folder", "tags", "power_state", "attributes", "resource_pool")
_SEEN = (*_MATCHED, "disks", "size_bytes", "protectable", "reason", "source", "host", "datastores")
_LOOKED_FOR = "leftovers"  # said by a discovery, not by a watch


def rules_in_order(connection: sa.Connection) -> list[Rule]:
    """As they are tried."""
    rows = connection.execute(sa.select(rules).order_by(rules.c.position, rules.c.id)).mappings()
    return [Rule(row["id"], row["plan_id"], Conditions.model_validate(row["conditions"])) for row in rows]


def record(
    connection: sa.Connection, hypervisor_id: str, found: Sequence[Mapping[str, Any]], now: datetime
) -> list[str]:
    """Take over a whole discovery: new machines, changes, and those that are gone. What had to be left out, in words.

    A machine that another hypervisor has as well stays where it is until it is gone there: it moved, or it is a copy
    with the same id, and the points of two machines must never mix.
    """
    known = {row.id: row for row in connection.execute(sa.select(machines))}
    seen, complaints = _take(connection, hypervisor_id, found, known, now)
    here = [row.id for row in known.values() if row.hypervisor_id == hypervisor_id and row.gone_at is None]
    _leave(connection, [key for key in here if key not in seen], now)
    connection.execute(sa.update(hypervisors).where(hypervisors.c.id == hypervisor_id).values(discovered_at=now))
    return complaints


def change(
    connection: sa.Connection,
    hypervisor_id: str,
    found: Sequence[Mapping[str, Any]],
    gone: Collection[str],
    now: datetime,
) -> list[str]:
    """Take over what changed: machines as they are now, and the ids, as the hypervisor has them, of those gone."""
    told = {*(machine["id"] for machine in found), *gone}
    wanted = sa.select(machines)
    if len(told) <= _FEW:  # else reading the whole inventory costs less
        wanted = wanted.where(may_be(hypervisor_id, told))
    known = {row.id: row for row in connection.execute(wanted)}
    seen, complaints = _take(connection, hypervisor_id, found, known, now)
    left = [
        row.id
        for row in known.values()
        if row.hypervisor_id == hypervisor_id and row.gone_at is None and (row.seen_as or row.id) in gone
    ]
    _leave(connection, [key for key in left if key not in seen], now)
    return complaints


def _take(
    connection: sa.Connection,
    hypervisor_id: str,
    found: Sequence[Mapping[str, Any]],
    known: Mapping[str, Any],
    now: datetime,
) -> tuple[set[str], list[str]]:
    """The ids here of what was taken, and what was not, in words."""
    complaints = []
    continuing = Continuing(connection, hypervisor_id, known, now)
    ordered = rules_in_order(connection)
    seen: dict[str, dict[str, Any]] = {}
    for machine in found:
        key, waits = continuing.id_of(machine)
        old = known.get(key)
        if not _fit(machine["id"]):
            complaints.append(f"machine {machine['name']!r}: its id {machine['id'][:_LONGEST_ID]!r} cannot be one")
        elif key in seen:
            complaints.append(f"machine {machine['name']!r}: its id {machine['id']!r} is that of another one")
        elif waits is not None:
            complaints.append(waits)
        elif key == machine["id"] and old is not None and old.hypervisor_id != hypervisor_id and old.gone_at is None:
            complaints.append(f"machine {machine['name']!r}: its id {machine['id']!r} is in another hypervisor too")
        else:
            rule = assign(machine, ordered)
            seen[key] = {
                **{name: machine[name] for name in _SEEN},
                _LOOKED_FOR: machine.get(_LOOKED_FOR, {} if old is None else old.leftovers),
                "hypervisor_id": hypervisor_id,
                "seen_as": "" if key == machine["id"] else machine["id"],
                "rule_id": rule and rule.id,
                "plan_id": rule and rule.plan_id,
                "last_seen_at": now,
                "gone_at": None,
            }
    new = [{"id": key, "first_seen_at": now, **row} for key, row in seen.items() if key not in known]
    old_rows = [{"key": key, **row} for key, row in seen.items() if key in known]
    if new:
        connection.execute(sa.insert(machines), new)
        _date_points(connection, [row["id"] for row in new])
    if old_rows:
        changed: dict[str, Any] = {name: sa.bindparam(name) for name in next(iter(seen.values()))}
        connection.execute(sa.update(machines).where(machines.c.id == sa.bindparam("key")).values(changed), old_rows)
    return set(seen), complaints


def _leave(connection: sa.Connection, keys: Sequence[str], now: datetime) -> None:
    if keys:
        leave = sa.update(machines).where(machines.c.id == sa.bindparam("key"))
        values = leave.values(gone_at=sa.bindparam("gone_at"), plan_id=None, rule_id=None, leftovers={})
        connection.execute(values, [{"key": key, "gone_at": now} for key in keys])


def _fit(machine_id: str) -> bool:
    return 0 < len(machine_id) <= _LONGEST_ID and machine_id.isprintable() and "/" not in machine_id


def _date_points(connection: sa.Connection, machine_ids: Sequence[str]) -> None:
    """A machine that is new to us may have points: it came back, or the database is new."""
    newest = (
        sa.select(points.c.machine_id, sa.func.max(points.c.time).label("time"))
        .where(points.c.expired.is_(False))
        .group_by(points.c.machine_id)
    )
    times = {row.machine_id: row.time for row in connection.execute(newest)}
    dated = [{"key": key, "last_point_at": times[key]} for key in machine_ids if key in times]
    if dated:
        date = sa.update(machines).where(machines.c.id == sa.bindparam("key"))
        connection.execute(date.values(last_point_at=sa.bindparam("last_point_at")), dated)


def assign_anew(connection: sa.Connection) -> int:
    """After rules changed: give every machine its rule and plan. How many changed."""
    ordered = rules_in_order(connection)
    columns = [machines.c[name] for name in ("id", "rule_id", "plan_id", *_MATCHED)]
    moved = []
    for row in connection.execute(sa.select(*columns).where(machines.c.gone_at.is_(None))).mappings():
        rule = assign(row, ordered)
        rule_id, plan_id = rule and rule.id, rule and rule.plan_id
        if (row["rule_id"], row["plan_id"]) != (rule_id, plan_id):
            moved.append({"key": row["id"], "rule_id": rule_id, "plan_id": plan_id})
    if moved:
        update = sa.update(machines).where(machines.c.id == sa.bindparam("key"))
        connection.execute(update.values(rule_id=sa.bindparam("rule_id"), plan_id=sa.bindparam("plan_id")), moved)
    return len(moved)
