"""`ingot pool`: where recovery points lie."""

from __future__ import annotations

from typing import Annotated

import typer

from ingot.cli.service.asking import Door, asking, id_of, said, tell, text

pools = typer.Typer(no_args_is_help=True, help="Repositories that MediaAgents keep.")


@pools.command("list")
@asking
def list_(door: Door) -> int:
    """List the pools."""
    columns = [text("name"), text("url"), text("state"), text("reason"), text("id")]
    return tell(door, door.rest.all("/pools"), columns, "no pools")


@pools.command("add")
@asking
def add(
    door: Door,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    url: Annotated[
        str, typer.Option(metavar="URL", help="Where it lies, as the MediaAgent sees it: a file:/// or s3:// URL.")
    ],
    agent: Annotated[
        list[str] | None, typer.Option("--agent", metavar="NAME", help="A MediaAgent that keeps it; all, without it.")
    ] = None,
) -> int:
    """Have a MediaAgent make a repository in an empty place, encrypted with a new key, and wait for it.

    The key lies in the MediaAgent's state directory. Keep a copy of it elsewhere: without it the data is lost.

    Example:

        ingot pool add main --url file:///backup/main
    """
    from ingot.cli.service.job import followed

    agents = agent or [str(each["name"]) for each in door.rest.all("/agents", role="mediaagent")]
    body = {"name": name, "url": url, "agents": [id_of(door.rest, "agents", each) for each in agents]}
    pool = door.rest.post("/pools", body)
    return followed(door, list(door.rest.all("/jobs", pool_id=pool["id"], kind="create_pool")))


@pools.command("read")
@asking
def read(
    door: Door,
    name: Annotated[str, typer.Argument(metavar="NAME")],
) -> int:
    """Read the list of recovery points back from the repository."""
    from ingot.cli.service.job import followed

    return followed(door, [door.rest.post(f"/pools/{id_of(door.rest, 'pools', name)}/read")])


@pools.command("remove")
@asking
def remove(
    door: Door,
    name: Annotated[str, typer.Argument(metavar="NAME")],
) -> int:
    """Forget a pool that no plan names. The repository and its key stay where they are."""
    door.rest.delete(f"/pools/{id_of(door.rest, 'pools', name)}")
    return said(door, None, f"removed {name}")
