"""`ingot pool`: where recovery points lie."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ingot.cli.service.asking import Door, agents_of, asking, id_of, said, tell, text

_SECRET_FORM = (
    'of an s3:// URL: {"access_key_id": "...", "secret_access_key": "..."}, and "session_token" of temporary ones'
)
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
    secret_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help=f"Credentials {_SECRET_FORM}. Without it the MediaAgent's own count."),
    ] = None,
) -> int:
    """Have a MediaAgent make a repository in an empty place, encrypted with a new key, and wait for it.

    The key lies in the MediaAgent's state directory. Keep a copy of it elsewhere: without it the data is lost.
    Credentials are sealed to the MediaAgents; nobody else can read them from then on, the CommServe neither.

    Example:

        ingot pool add main --url file:///backup/main

        ingot pool add cloud --url 's3://bucket/vms?region=eu-central-1' --secret-file credentials.json
    """
    from ingot.cli.secret import document_in
    from ingot.cli.service.job import followed

    body: dict[str, Any] = {"name": name, "url": url, "agents": agents_of(door.rest, "mediaagent", agent)}
    if secret_file is not None:
        body["secret"] = document_in(secret_file, door.screen)
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


@pools.command("secret")
@asking
def secret(
    door: Door,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    secret_file: Annotated[Path, typer.Option(metavar="FILE", help=f"Credentials {_SECRET_FORM}.")],
    agent: Annotated[
        list[str] | None,
        typer.Option(
            "--agent", metavar="NAME", help="A MediaAgent that gets them; all that keep the pool, without it."
        ),
    ] = None,
) -> int:
    """Give the MediaAgents of a pool other credentials, and wait until each of them tried and kept them.

    Backups that run go on: the old credentials are used until the place refuses them.

    Example:

        ingot pool secret cloud --secret-file credentials.json
    """
    from ingot.cli.secret import document_in
    from ingot.cli.service.job import followed

    key = id_of(door.rest, "pools", name)
    before = {job["id"] for job in door.rest.all("/jobs", pool_id=key, kind="keep_secret") if job["ended_at"]}
    agents = [id_of(door.rest, "agents", each) for each in agent or []]
    door.rest.put(f"/pools/{key}/secret", {"secret": document_in(secret_file, door.screen), "agents": agents})
    jobs = door.rest.all("/jobs", pool_id=key, kind="keep_secret")
    return followed(door, [job for job in jobs if job["id"] not in before])


@pools.command("remove")
@asking
def remove(
    door: Door,
    name: Annotated[str, typer.Argument(metavar="NAME")],
) -> int:
    """Forget a pool that no plan names. The repository and its key stay where they are."""
    door.rest.delete(f"/pools/{id_of(door.rest, 'pools', name)}")
    return said(door, None, f"removed {name}")
