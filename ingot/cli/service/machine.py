"""`ingot machine`: what was discovered, and whether it is protected."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ingot.cli.service.asking import Door, asking, id_of, names_by_id, said, tell, text
from ingot.quantities import size_text, time_text

machines = typer.Typer(no_args_is_help=True, help="Machines that were discovered.")

NameArgument = Annotated[str, typer.Argument(metavar="MACHINE", help="Its name or id.")]


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
        ("STATE", _state),
        text("id"),
    ]
    found = door.rest.all("/machines", hypervisor_id=wanted)
    return tell(door, found, columns, "no machines", frozenset({2}))


def _state(machine: dict[str, Any]) -> str:
    if machine["gone_at"]:
        return "gone"
    if not machine["protectable"]:
        return f"cannot be protected: {machine['reason']}"
    if machine["excluded_reason"]:
        return f"excluded: {machine['excluded_reason']}"
    if not machine["plan_id"]:
        return "not protected"
    if machine["sla"] != "none":
        return f"SLA {machine['sla']}"
    return "protected" if machine["last_point_at"] else "no recovery point yet"


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
    found = door.rest.all("/points", machine_id=id_of(door.rest, "machines", machine))
    return tell(door, found, columns, "no recovery points", frozenset({3}))


@machines.command("restore")
@asking
def restore(
    door: Door,
    machine: NameArgument,
    to: Annotated[
        str, typer.Option(metavar="DIR", help="Where the images go: below a landing directory of the VSA that writes.")
    ],
    point: Annotated[str | None, typer.Option(metavar="RP", help="Which recovery point; the newest, without.")] = None,
    disk: Annotated[list[int] | None, typer.Option(metavar="N", min=0, help="Only these disks.")] = None,
    agent: Annotated[
        str | None, typer.Option(metavar="NAME", help="The VSA that writes, where there are several.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace images that are there.")] = False,
) -> int:
    """Have a VSA write the disks of a machine to image files, disk-0.raw and so on, and watch.

    Example:

        ingot machine restore web1 --to /srv/restored/web1
    """
    from ingot.cli.service.job import followed
    from ingot.faults import NameUnknown

    found = list(door.rest.all("/points", machine_id=id_of(door.rest, "machines", machine)))
    wanted = [each for each in found if point is None or each["id"] == point.lower().zfill(10)]
    if not wanted:
        there = ", ".join(each["id"] for each in found[:5]) or "none"
        raise NameUnknown(f"{machine}: expected a recovery point {point or 'at all'}, found {there}")
    newest = max(wanted, key=lambda each: (each["time"], each["id"]))
    body = {
        "pool_id": newest["pool_id"],
        "point": newest["id"],
        "directory": to,
        "disks": disk or [],
        "overwrite": overwrite,
        "agent_id": None if agent is None else id_of(door.rest, "agents", agent),
    }
    return followed(door, [door.rest.post("/restores", body)])


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
