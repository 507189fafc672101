"""`ingot plan`: what is promised to machines."""

from __future__ import annotations

from typing import Annotated

import typer

from ingot.cli.service import plan_options as of
from ingot.cli.service.asking import Door, asking, id_of, names_by_id, said, tell, text
from ingot.cli.service.plan_page import kept, lines_of
from ingot.quantities import time_text

Name = Annotated[str, typer.Argument(metavar="NAME")]
plans = typer.Typer(no_args_is_help=True, help="What is promised: when, where to, how long it is kept.")


@plans.command("list")
@asking
def list_(door: Door) -> int:
    """List the plans and when each is due next."""
    pools = names_by_id(door.rest, "pools")
    columns = [
        text("name"),
        ("SCHEDULE", lambda plan: f"{plan['schedule']['cron'] or 'on demand'} {plan['schedule']['time_zone']}"),
        ("KEEPS", lambda plan: kept(plan["retention"])),
        ("POOL", lambda plan: pools.get(plan["pool_id"], "-")),
        ("NEXT (UTC)", lambda plan: time_text(plan["next_due_at"] or "-") if plan["enabled"] else "disabled"),
    ]
    return tell(door, door.rest.all("/plans"), columns, "no plans")


@plans.command("add")
@asking
def add(
    door: Door,
    name: Name,
    pool: of.Pool = None,
    cron: of.Cron = "0 22 * * *",
    time_zone: of.TimeZone = "UTC",
    daily: of.Daily = 30,
    weekly: of.Weekly = 0,
    monthly: of.Monthly = 0,
    yearly: of.Yearly = 0,
    last: of.Last = 0,
    sla: of.Sla = 0,
    quiesce: of.Quiesce = "application",
    fall_back: of.FallBack = True,
    exclude_disk: of.ExcludeDisk = None,
    proof_days: of.ProofDays = 30,
    level: of.Level = 1,
) -> int:
    """Add a plan. It protects nothing until a rule names it.

    Windows, blackouts, bandwidth by time of day and limits: docs/api.md.

    Example:

        ingot plan add daily --cron '0 22 * * *' --time-zone Europe/Berlin --daily 14 --monthly 12
    """
    body = of.with_given(
        {"name": name, "pool_id": _pool(door, pool)},
        cron=cron,
        time_zone=time_zone,
        last=last,
        daily=daily,
        weekly=weekly,
        monthly=monthly,
        yearly=yearly,
        quiesce=quiesce,
        fall_back=fall_back,
        exclude_disks=exclude_disk,
        proof_days=proof_days,
        sla_minutes=sla,
        level=level,
    )
    return said(door, door.rest.post("/plans", body), f"added {name}; `ingot rule add` gives it machines")


@plans.command("change")
@asking
def change(
    door: Door,
    name: Name,
    pool: of.Pool = None,
    cron: of.Cron = None,
    time_zone: of.TimeZone = None,
    daily: of.Daily = None,
    weekly: of.Weekly = None,
    monthly: of.Monthly = None,
    yearly: of.Yearly = None,
    last: of.Last = None,
    sla: of.Sla = None,
    quiesce: of.Quiesce = None,
    fall_back: of.FallBack = None,
    exclude_disk: of.ExcludeDisk = None,
    proof_days: of.ProofDays = None,
    level: of.Level = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Whether its schedule counts; what runs goes on.")
    ] = None,
) -> int:
    """Change a plan. What is not said stays as it is; jobs that are made already keep what they were made with.

    Examples:

        ingot plan change daily --daily 30 --time-zone America/New_York

        ingot plan change daily --disable
    """
    found = door.rest.get(f"/plans/{id_of(door.rest, 'plans', name)}")
    body = of.with_given(
        {member: found[member] for member in of.WHOLE},
        pool_id=None if pool is None else _pool(door, pool),
        cron=cron,
        time_zone=time_zone,
        last=last,
        daily=daily,
        weekly=weekly,
        monthly=monthly,
        yearly=yearly,
        quiesce=quiesce,
        fall_back=fall_back,
        exclude_disks=exclude_disk,
        proof_days=proof_days,
        sla_minutes=sla,
        level=level,
        enabled=enabled,
    )
    changed = door.rest.put(f"/plans/{found['id']}", body)
    return door.screen.result(changed, lines_of(changed, names_by_id(door.rest, "pools")))


@plans.command("show")
@asking
def show(door: Door, name: Name) -> int:
    """Show all that a plan says."""
    found = door.rest.get(f"/plans/{id_of(door.rest, 'plans', name)}")
    return door.screen.result(found, lines_of(found, names_by_id(door.rest, "pools")))


@plans.command("remove")
@asking
def remove(
    door: Door,
    name: Name,
) -> int:
    """Remove a plan that no rule names. Recovery points stay."""
    door.rest.delete(f"/plans/{id_of(door.rest, 'plans', name)}")
    return said(door, None, f"removed {name}")


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
