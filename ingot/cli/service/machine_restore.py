"""`ingot machine restore`: disks of a recovery point as image files, or as a machine of a hypervisor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from ingot.cli.service.asking import Door, asking, id_of, machine_of

NameArgument = Annotated[str, typer.Argument(metavar="MACHINE", help="Its name or id.")]
_PANEL = "Into a hypervisor"
_MAP = "[FROM=]TO"


def _option(help_text: str, metavar: str = "NAME") -> Any:
    return typer.Option(metavar=metavar, rich_help_panel=_PANEL, help=help_text)


def _flag(name: str, help_text: str) -> Any:
    return typer.Option(name, rich_help_panel=_PANEL, help=help_text)


@asking
def restore(
    door: Door,
    machine: NameArgument,
    to: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Where the images go: below a landing directory of the VSA that writes."),
    ] = None,
    point: Annotated[str | None, typer.Option(metavar="RP", help="Which recovery point; the newest, without.")] = None,
    disk: Annotated[list[int] | None, typer.Option(metavar="N", min=0, help="Only these disks.")] = None,
    agent: Annotated[
        str | None, typer.Option(metavar="NAME", help="The VSA that writes, where there are several.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace images that are there.")] = False,
    to_hypervisor: Annotated[str | None, _option("Make a machine there.")] = None,
    name: Annotated[str, _option("What the new machine is called; as it was, without.")] = "",
    in_place: Annotated[
        bool, _flag("--in-place", "Over the disks of the machine that is there; only what differs is written.")
    ] = False,
    attach_to: Annotated[str | None, _option("As further disks of this machine.", "MACHINE")] = None,
    datastore: Annotated[list[str] | None, _option("Where disks go: all, or those that were on FROM.", _MAP)] = None,
    network: Annotated[list[str] | None, _option("What cards are on: all, or those that were on FROM.", _MAP)] = None,
    policy: Annotated[
        list[str] | None,
        _option(
            "Storage policy of home and disks: of all, or of those that had FROM; `FROM=` is the datastore's.", _MAP
        ),
    ] = None,
    folder: Annotated[str, _option("Folder of machines; as it was, without.", "PATH")] = "",
    pool: Annotated[str, _option("Resource pool, by name or path; as it was, without.")] = "",
    thin: Annotated[bool | None, _flag("--thin/--thick", "How disks take their space; as they did, without.")] = None,
    keep_identity: Annotated[
        bool, _flag("--keep-identity", "The new machine has the uuids and MAC addresses of the one that was.")
    ] = False,
    power_off: Annotated[bool, _flag("--power-off", "Turn the machine that is there off, if it is on.")] = False,
    power_on: Annotated[bool, _flag("--power-on", "Turn it on when it is restored.")] = False,
) -> int:
    """Have a VSA bring a machine back and watch: as image files disk-0.raw and so on, or into a hypervisor.

    Examples:

        ingot machine restore web1 --to /srv/restored/web1

        ingot machine restore web1 --to-hypervisor vc1 --name web1-restored

        ingot machine restore web1 --in-place --power-off --power-on

        ingot machine restore web1 --to-hypervisor cloud --datastore WorkloadDatastore --network "VM Network=app-net"
    """
    from ingot.cli.service.job import followed
    from ingot.faults import NameUnknown

    hypervisor, how = _target(to, to_hypervisor, in_place, attach_to)
    found = list(door.rest.all("/points", machine_id=machine_of(door.rest, machine)))
    wanted = [each for each in found if point is None or each["id"] == point.lower().zfill(10)]
    if not wanted:
        there = ", ".join(each["id"] for each in found[:5]) or "none"
        raise NameUnknown(f"{machine}: expected a recovery point {point or 'at all'}, found {there}")
    newest = max(wanted, key=lambda each: (each["time"], each["id"]))
    body: dict[str, Any] = {
        "pool_id": newest["pool_id"],
        "point": newest["id"],
        "disks": disk or [],
        "agent_id": None if agent is None else id_of(door.rest, "agents", agent),
    }
    if how is None:
        body |= {"directory": to, "overwrite": overwrite}
    else:
        there_id = None if how == "new" else id_of(door.rest, "machines", attach_to or machine)
        body["machine"] = {
            "hypervisor_id": _hypervisor(door, hypervisor, there_id),
            "how": how,
            "name": name,
            "machine_id": there_id,
            "datastores": _map("--datastore", datastore),
            "networks": _map("--network", network),
            "policies": _map("--policy", policy, may_be_empty=True),
            "folder": folder,
            "pool": pool,
            "provisioning": {None: "as_it_was", True: "thin", False: "thick"}[thin],
            "keep_identity": keep_identity,
            "power_off": power_off,
            "power_on": power_on,
        }
    return followed(door, [door.rest.post("/restores", body)])


def _target(
    to: str | None, hypervisor: str | None, in_place: bool, attach_to: str | None
) -> tuple[str | None, str | None]:
    """The hypervisor that was named, and how a machine comes back there; None for image files."""
    from ingot.faults import UsageWrong

    ways = [
        way
        for way, wanted in (
            ("--to", to is not None),
            ("--in-place", in_place),
            ("--attach-to", attach_to is not None),
            ("--to-hypervisor", hypervisor is not None and not in_place and attach_to is None),
        )
        if wanted
    ]
    if len(ways) != 1:
        raise UsageWrong(
            f"expected one of --to, --to-hypervisor, --in-place, --attach-to; found {' and '.join(ways) or 'none'}"
        )
    return hypervisor, {"--to": None, "--in-place": "in_place", "--attach-to": "attach"}.get(ways[0], "new")


def _hypervisor(door: Door, named: str | None, machine_id: str | None) -> str:
    """By its name; without one, that of the machine that is there."""
    if named is not None:
        return id_of(door.rest, "hypervisors", named)
    return str(door.rest.get(f"/machines/{machine_id}")["hypervisor_id"])


def _map(option: str, given: Iterable[str] | None, *, may_be_empty: bool = False) -> dict[str, str]:
    """`FROM=TO` and `TO`, which is for all others; `FROM=` where TO may be empty."""
    from ingot.faults import UsageWrong

    names: dict[str, str] = {}
    for each in given or ():
        left, equals, right = each.partition("=")
        source, to = (left, right) if equals else ("", left)
        if not (to or (equals and may_be_empty)) or source in names:
            raise UsageWrong(f"{option}: expected [FROM=]TO, each FROM once, found {each!r}")
        names[source] = to
    return names
