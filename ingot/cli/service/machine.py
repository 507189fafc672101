"""`ingot machine`: what was discovered, and whether it is protected."""

from __future__ import annotations

from typing import Annotated

import typer

from ingot.cli.service.asking import Door, asking, id_of, machine_of, names_by_id, said, tell, text
from ingot.cli.service.machine_page import show, state_of
from ingot.cli.service.machine_restore import NameArgument, restore
from ingot.quantities import size_text, time_text

machines = typer.Typer(no_args_is_help=True, help="Machines that were discovered.")
machines.command("show")(show)
machines.command("restore")(restore)


@machines.command("list")
@asking
def list_(
    door: Door,
    hypervisor: Annotated[str | None, typer.Option(metavar="NAME", help="Only those of this one.")] = None,
) -> int:
    """List the machines: which plan protects each, and its newest recovery point."""
    plans = names_by_id(door.rest, "plans")
    wanted = None if hypervisor is None else id_of(door.rest, "hypervisors", hypervisor)
    columns = [
        text("name"),
        text("folder"),
        ("SIZE", lambda machine: size_text(machine["size_bytes"])),
        ("PLAN", lambda machine: plans.get(machine["plan_id"], "-")),
        ("NEWEST POINT (UTC)", lambda machine: time_text(machine["last_point_at"] or "-")),
        ("STATE", state_of),
        text("id"),
    ]
    found = door.rest.all("/machines", hypervisor_id=wanted)
    return tell(door, found, columns, "no machines", frozenset({2}))


@machines.command("clean")
@asking
def clean(
    door: Door,
    machine: NameArgument,
    half_made: Annotated[
        bool,
        typer.Option("--half-made", help="Delete the machine itself, where a dead restore left it half-made."),
    ] = False,
) -> int:
    """Remove now what jobs that are over left at a machine, and wait until that is done.

    Its snapshots go by themselves within the hour too; a half-made machine never does.
    """
    from ingot.cli.service.job import followed

    path = f"/machines/{id_of(door.rest, 'machines', machine)}/clean"
    return followed(door, [door.rest.post(path, {"half_made": half_made})])


@machines.command("points")
@asking
def points(
    door: Door,
    machine: NameArgument,
) -> int:
    """List the recovery points of a machine, newest first."""
    pools = names_by_id(door.rest, "pools")
    columns = [
        text("id"),
        ("TIME (UTC)", lambda point: time_text(point["time"])),
        ("POOL", lambda point: pools.get(point["pool_id"], "-")),
        ("STORED", lambda point: size_text(point["stored_bytes"])),
        ("MARKS", lambda point: ", ".join(point["marks"])),
    ]
    found = door.rest.all("/points", machine_id=machine_of(door.rest, machine))
    return tell(door, found, columns, "no recovery points", frozenset({3}))


@machines.command("exclude")
@asking
def exclude(
    door: Door,
    machine: NameArgument,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it is shown with the machine.")],
    until: Annotated[str, typer.Option(metavar="TIME", help="When it comes back, 2026-12-31T00:00:00Z.")],
) -> int:
    """Leave a machine out until a date on which it comes back by itself."""
    path = f"/machines/{id_of(door.rest, 'machines', machine)}/exclusion"
    return said(door, door.rest.put(path, {"reason": reason, "until": until}), f"{machine} is left out until {until}")


@machines.command("include")
@asking
def include(
    door: Door,
    machine: NameArgument,
) -> int:
    """Take a machine back in before that date."""
    door.rest.delete(f"/machines/{id_of(door.rest, 'machines', machine)}/exclusion")
    return said(door, None, f"{machine} is back")
