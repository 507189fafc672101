"""`ingot hypervisor`: where machines are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ingot.cli.exits import Exit
from ingot.cli.service.asking import Door, agents_of, asking, id_of, said, tell, text
from ingot.cli.service.hypervisor_settings import Kind, images_settings, vcenter_password, vcenter_settings
from ingot.quantities import count_text, shown, time_text

hypervisors = typer.Typer(
    no_args_is_help=True, help="Where machines are: vCenters, ESXi hosts, directories of disk images."
)


@hypervisors.command("list")
@asking
def list_(door: Door) -> int:
    """List the hypervisors, when their machines were looked for last, and what stood in the way."""

    def problem(hypervisor: dict[str, Any]) -> str:
        newest = door.rest.get("/jobs", kind="discover", hypervisor_id=hypervisor["id"], limit=1)["items"]
        return newest[0]["fault"]["message"] if newest and newest[0]["fault"] else "-"

    columns = [
        text("name"),
        text("kind"),
        ("DISCOVERED (UTC)", lambda hypervisor: time_text(hypervisor["discovered_at"] or "never")),
        ("PROBLEM", problem),
        text("id"),
    ]
    return tell(door, door.rest.all("/hypervisors"), columns, "no hypervisors")


@hypervisors.command("add")
@asking
def add(
    door: Door,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    images: Annotated[
        Path | None, typer.Option("--images", metavar="DIR", help="A directory of disk images, as the VSA sees it.")
    ] = None,
    kind: Annotated[Kind, typer.Option("--kind", help="What it is.")] = Kind.IMAGES,
    address: Annotated[
        str | None, typer.Option("--address", metavar="HOST[:PORT]", help="Of a vCenter or an ESXi host.")
    ] = None,
    user: Annotated[str | None, typer.Option("--user", metavar="NAME", help="Who logs in there.")] = None,
    password_file: Annotated[
        Path | None, typer.Option("--password-file", metavar="FILE", help="With the user's password in its first line.")
    ] = None,
    fingerprint: Annotated[
        str | None, typer.Option("--fingerprint", metavar="SHA256", help="Of the one certificate that it may show.")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option("--ca-file", metavar="FILE", help="Certificates in PEM to trust for it.")
    ] = None,
    vddk: Annotated[
        Path | None, typer.Option("--vddk", metavar="DIR", help="Your VDDK, as the VSA sees it: disks by nbdkit.")
    ] = None,
    nbd_url: Annotated[
        str | None, typer.Option("--nbd-url", metavar="URL", help="An NBD server of your own for its disks.")
    ] = None,
    agent: Annotated[
        list[str] | None, typer.Option("--agent", metavar="NAME", help="A VSA that can reach it; any, without it.")
    ] = None,
) -> int:
    """Add a vCenter, an ESXi host or a directory of disk images; its machines are discovered at once.

    In a directory each image file, and each folder that holds images, is a machine; docs/operations.md describes
    machine.json. Of a vCenter, docs/vsphere.md says which rights its user needs.

    Examples:

        ingot hypervisor add lab --images /srv/images

        ingot hypervisor add vc1 --kind vcenter --address vc1.example.com --user backup@vsphere.local \\
            --password-file /root/vc1.password --ca-file /etc/ingot/vc1.pem
    """
    if kind is Kind.VCENTER:
        settings = vcenter_settings(address, user, fingerprint, ca_file, vddk, nbd_url)
        secret = vcenter_password(password_file, door.screen)
    else:
        settings, secret = images_settings(images), None
    body = {
        "name": name,
        "kind": kind.value,
        "settings": settings,
        "secret": secret,
        "agents": agents_of(door.rest, "vsa", agent),
    }
    return _looked_into(door, door.rest.post("/hypervisors", body))


def _looked_into(door: Door, hypervisor: dict[str, Any]) -> int:
    """Say what is in a new hypervisor, or why that is not known; then it stays, and is tried again."""
    from ingot.cli.service.job import first_attempt
    from ingot.rest import discovery

    name = hypervisor["name"]
    if not any(vsa["state"] == "active" for vsa in door.rest.all("/agents", role="vsa")):
        return said(door, hypervisor, f"added {name}; its machines are discovered once a VSA is there")
    job = first_attempt(door, discovery(door.rest, hypervisor["id"]))
    if job["fault"]:
        why = f"{shown(job['fault']['message'])} [{job['fault']['code']}]"
        lines = [f"added {name}, but its machines are not discovered yet: {why}", "it is tried again by itself"]
        return door.screen.result({**hypervisor, "discovery": job}, lines, Exit.FAULT)
    found = count_text(job["result"]["machines"], "machine")
    return door.screen.result({**hypervisor, "discovery": job}, [f"added {name}: {found}"])


@hypervisors.command("secret")
@asking
def secret(
    door: Door,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    password_file: Annotated[
        Path, typer.Option("--password-file", metavar="FILE", help="With the user's password in its first line.")
    ],
) -> int:
    """Give the VSAs of a vCenter another password, and wait until it was tried.

    Backups that run go on with the old one where they are logged in.

    Example:

        ingot hypervisor secret vc1 --password-file /root/vc1.password
    """
    from ingot.cli.service.job import followed

    key = id_of(door.rest, "hypervisors", name)
    found = door.rest.get(f"/hypervisors/{key}")
    members = ("name", "kind", "settings", "agents", "concurrency", "discover_minutes")
    body = {member: found[member] for member in members}
    door.rest.put(f"/hypervisors/{key}", {**body, "secret": vcenter_password(password_file, door.screen)})
    return followed(door, [door.rest.post(f"/hypervisors/{key}/check")])


@hypervisors.command("discover")
@asking
def discover(
    door: Door,
    name: Annotated[str, typer.Argument(metavar="NAME")],
) -> int:
    """Look for machines now, and wait until that is done."""
    from ingot.cli.service.job import followed
    from ingot.rest import discovery

    return followed(door, [discovery(door.rest, id_of(door.rest, "hypervisors", name))])


@hypervisors.command("check")
@asking
def check(
    door: Door,
    name: Annotated[str, typer.Argument(metavar="NAME")],
) -> int:
    """Try to reach it, and say which privileges its user lacks there, and on what."""
    from ingot.cli.service.job import followed

    return followed(door, [door.rest.post(f"/hypervisors/{id_of(door.rest, 'hypervisors', name)}/check")])


@hypervisors.command("remove")
@asking
def remove(
    door: Door,
    name: Annotated[str, typer.Argument(metavar="NAME")],
) -> int:
    """Forget a hypervisor. Recovery points of its machines stay."""
    door.rest.delete(f"/hypervisors/{id_of(door.rest, 'hypervisors', name)}")
    return said(door, None, f"removed {name}")


@hypervisors.command("adopt")
@asking
def adopt(
    door: Door,
    old: Annotated[str, typer.Argument(metavar="OLD", help="The one that will not come back.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The one that its machines are in now.")],
) -> int:
    """Let the machines of a vCenter that was built anew go on with their recovery points.

    Machines are known again by their instance uuid. NEW is discovered once more, and this waits for it.
    """
    from ingot.cli.service.job import first_attempt
    from ingot.rest import discovery

    old_id, new_id = (id_of(door.rest, "hypervisors", name) for name in (old, new))
    ids = {machine["id"] for machine in door.rest.all("/machines", hypervisor_id=old_id)}
    door.rest.post(f"/hypervisors/{new_id}/adopt", {"old": old_id})
    job = first_attempt(door, discovery(door.rest, new_id))
    machines = sum(machine["id"] in ids for machine in door.rest.all("/machines", hypervisor_id=new_id))
    lines = [f"{machines} of {count_text(len(ids), 'machine')} of {old} go on in {new}"]
    if job["fault"]:
        lines.append(f"{new} is not discovered yet: {shown(job['fault']['message'])} [{job['fault']['code']}]")
    document = {"machines": machines, "of": len(ids), "discovery": job}
    return door.screen.result(document, lines, Exit.FAULT if job["fault"] else Exit.GOOD)
