"""`ingot plan`: what is promised to machines."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ingot.cli.service.asking import Door, asking, id_of, names_by_id, said, tell, text
from ingot.quantities import time_text

plans = typer.Typer(no_args_is_help=True, help="What is promised: when, where to, how long it is kept.")


@plans.command("list")
@asking
def list_(door: Door) -> int:
    """List the plans and when each is due next."""
    pools = names_by_id(door.rest, "pools")
    columns = [
        text("name"),
        ("SCHEDULE", lambda plan: f"{plan['schedule']['cron'] or 'on demand'} {plan['schedule']['time_zone']}"),
        ("KEEPS", lambda plan: _kept(plan["retention"])),
        ("POOL", lambda plan: pools.get(plan["pool_id"], "-")),
        ("NEXT (UTC)", lambda plan: time_text(plan["next_due_at"] or "-") if plan["enabled"] else "disabled"),
    ]
    return tell(door, door.rest.all("/plans"), columns, "no plans")


@plans.command("add")
@asking
def add(
    door: Door,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    pool: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where recovery points go; without it, the only pool.")
    ] = None,
    cron: Annotated[
        str, typer.Option(metavar="CRON", help="Minute, hour, day, month, weekday; empty: only when asked.")
    ] = "0 22 * * *",
    time_zone: Annotated[str, typer.Option(metavar="ZONE", help="Of the schedule: Europe/Berlin.")] = "UTC",
    daily: Annotated[int, typer.Option(metavar="N", min=0, help="Keep the newest point of so many days.")] = 30,
    weekly: Annotated[int, typer.Option(metavar="N", min=0, help="Of so many weeks.")] = 0,
    monthly: Annotated[int, typer.Option(metavar="N", min=0, help="Of so many months.")] = 0,
    yearly: Annotated[int, typer.Option(metavar="N", min=0, help="Of so many years.")] = 0,
    last: Annotated[int, typer.Option(metavar="N", min=0, help="And so many of the newest.")] = 0,
    sla: Annotated[
        int, typer.Option("--sla", metavar="MINUTES", min=0, help="The newest point is never older; 0: no promise.")
    ] = 0,
    quiesce: Annotated[
        str, typer.Option(metavar="LEVEL", help="What vSphere guests are asked for: application, filesystem or crash.")
    ] = "application",
    fall_back: Annotated[
        bool, typer.Option("--fall-back/--no-fall-back", help="Take a lower level, with a warning, where that fails.")
    ] = True,
    exclude_disk: Annotated[
        list[str] | None, typer.Option(metavar="DISK", help="Leave out disks with this name or key. Repeatable.")
    ] = None,
    proof_days: Annotated[
        int, typer.Option(metavar="DAYS", min=0, help="Read unchanged parts too, each once in so many; 0: never.")
    ] = 30,
    level: Annotated[int, typer.Option(min=1, max=19, metavar="N", help="Level of zstd compression.")] = 1,
) -> int:
    """Add a plan. It protects nothing until a rule names it.

    Windows, blackouts, bandwidth by time of day and limits: docs/api.md.

    Example:

        ingot plan add daily --cron '0 22 * * *' --time-zone Europe/Berlin --daily 14 --monthly 12
    """
    body = {
        "name": name,
        "pool_id": _pool(door, pool),
        "schedule": {"cron": cron, "time_zone": time_zone},
        "retention": {"last": last, "daily": daily, "weekly": weekly, "monthly": monthly, "yearly": yearly},
        "hold": {
            "quiesce": quiesce,
            "fall_back": fall_back,
            "exclude_disks": exclude_disk or [],
            "proof_days": proof_days,
        },
        "sla_minutes": sla,
        "level": level,
    }
    return said(door, door.rest.post("/plans", body), f"added {name}; `ingot rule add` gives it machines")


@plans.command("remove")
@asking
def remove(
    door: Door,
    name: Annotated[str, typer.Argument(metavar="NAME")],
) -> int:
    """Remove a plan that no rule names. Recovery points stay."""
    door.rest.delete(f"/plans/{id_of(door.rest, 'plans', name)}")
    return said(door, None, f"removed {name}")


def _kept(retention: dict[str, Any]) -> str:
    kinds = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
    return ", ".join(f"{retention[kind]} {kind}" for kind in kinds if retention[kind])


def run_plan(door: Door, name: str, machine: str | None) -> int:
    """Back up the machines of a plan now, or one of them, and follow that to its end."""
    from ingot.cli.service.job import followed

    plan = id_of(door.rest, "plans", name)
    if machine is not None:
        return followed(door, [door.rest.post(f"/machines/{id_of(door.rest, 'machines', machine)}/backup")])
    run = door.rest.post(f"/plans/{plan}/run")
    return followed(door, list(door.rest.all("/jobs", run_id=run["id"])))


def _pool(door: Door, name: str | None) -> str:
    from ingot.faults import NameUnknown

    if name is not None:
        return id_of(door.rest, "pools", name)
    found = names_by_id(door.rest, "pools")
    if len(found) != 1:
        there = f"one of {', '.join(sorted(found.values()))}" if found else "a pool, which `ingot pool add` makes"
        raise NameUnknown(f"--pool: expected {there}")
    return next(iter(found))
