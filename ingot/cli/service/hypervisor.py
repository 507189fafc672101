"""`ingot hypervisor`: where machines are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ingot.cli.service.asking import Door, asking, id_of, said, tell, text

hypervisors = typer.Typer(no_args_is_help=True, help="Where machines are: today directories of disk images.")


@hypervisors.command("list")
@asking
def list_(door: Door) -> int:
    """List the hypervisors."""
    columns = [text("name"), text("kind"), text("discovered_at"), text("id")]
    return tell(door, door.rest.all("/hypervisors"), columns, "no hypervisors")


@hypervisors.command("add")
@asking
def add(
    door: Door,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    images: Annotated[
        Path, typer.Option("--images", metavar="DIR", help="A directory of disk images, as the VSA sees it.")
    ],
    agent: Annotated[
        list[str] | None, typer.Option("--agent", metavar="NAME", help="A VSA that can reach it; any, without it.")
    ] = None,
) -> int:
    """Add a directory of disk images; its machines are discovered at once.

    Each image file in it, and each folder that holds images, is a machine. docs/operations.md describes machine.json.

    Example:

        ingot hypervisor add lab --images /srv/images
    """
    agents = agent or [str(each["name"]) for each in door.rest.all("/agents", role="vsa")]
    body = {
        "name": name,
        "kind": "images",
        "settings": {"directory": str(images.absolute())},
        "agents": [id_of(door.rest, "agents", each) for each in agents],
    }
    return said(door, door.rest.post("/hypervisors", body), f"added {name}")


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


@hypervisors.command("remove")
@asking
def remove(
    door: Door,
    name: Annotated[str, typer.Argument(metavar="NAME")],
) -> int:
    """Forget a hypervisor. Recovery points of its machines stay."""
    door.rest.delete(f"/hypervisors/{id_of(door.rest, 'hypervisors', name)}")
    return said(door, None, f"removed {name}")
