"""`ingot agent`: VSAs and MediaAgents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ingot.cli import options
from ingot.cli.screen import screen_of
from ingot.cli.service.asking import Door, asking, id_of, said, tell, text
from ingot.quantities import time_text

agents = typer.Typer(no_args_is_help=True, help="VSAs and MediaAgents: the machines that do the work.")

Name = Annotated[str, typer.Argument(metavar="NAME")]
Role = Annotated[str, typer.Argument(metavar="ROLE", help="vsa or mediaagent")]


@agents.command("list")
@asking
def list_(door: Door) -> int:
    """List the agents and when each was heard last."""
    columns = [
        text("name"),
        text("role"),
        text("state"),
        text("version"),
        text("host"),
        ("SEEN (UTC)", lambda agent: time_text(agent["seen_at"] or "-")),
        text("id"),
    ]
    return tell(door, door.rest.all("/agents"), columns, "no agents")


@agents.command("token")
@asking
def token(
    door: Door,
    role: Role,
    name: Name,
) -> int:
    """Make a join token for a new agent. It works once, within an hour, for this role and name."""
    found = door.rest.post("/join-tokens", {"role": role, "name": name})
    return said(door, found, str(found["token"]))


@agents.command("join")
def join(
    context: typer.Context,
    role: Role,
    name: Name,
    state: Annotated[Path, typer.Option(metavar="DIR", help="The agent's state directory.")],
    join_token_file: Annotated[
        Path, typer.Option("--join-token-file", metavar="FILE", help="A file that holds the join token.")
    ],
    commserve: Annotated[
        str, typer.Option("--commserve", metavar="URL", envvar="INGOT_COMMSERVE", help="https://host:port")
    ],
    address: Annotated[
        list[str] | None,
        typer.Option(
            "--address", metavar="LABEL=HOST:CONTROL:DATA", help="How VSAs reach a MediaAgent; best first, several."
        ),
    ] = None,
    json: options.Json = False,
) -> int:
    """Join this machine to a CommServe: get a certificate with a join token.

    The token names the CommServe's authority, so no other CommServe can answer in its place.

    Example:

        ingot agent join vsa rack-1 --state /var/lib/ingot/vsa --join-token-file token --commserve https://backup:8400
    """
    from ingot.faults import SecretUnreadable
    from proto.agent.joining import join as join_

    screen = screen_of(context, json)
    try:
        text_ = join_token_file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SecretUnreadable(f"{join_token_file}: expected a file with a join token: {error}") from error
    membership = join_(commserve.rstrip("/"), text_, role, name, address or [], state)
    document = {"agent": membership.agent.id, "role": role, "commserve": membership.commserve, "state": str(state)}
    return screen.result(document, [f"{name} joined {membership.commserve} as {role} {membership.agent.id}"])


@agents.command("drain")
@asking
def drain(
    door: Door,
    name: Name,
) -> int:
    """Give an agent no new work; what runs is finished."""
    return said(door, door.rest.post(f"/agents/{id_of(door.rest, 'agents', name)}/drain"), f"{name} drains")


@agents.command("resume")
@asking
def resume(
    door: Door,
    name: Name,
) -> int:
    """Give a drained agent work again."""
    return said(door, door.rest.post(f"/agents/{id_of(door.rest, 'agents', name)}/resume"), f"{name} works")


@agents.command("revoke")
@asking
def revoke(
    door: Door,
    name: Name,
) -> int:
    """Trust an agent no more, for good. Change the passwords that it knew."""
    found = door.rest.post(f"/agents/{id_of(door.rest, 'agents', name)}/revoke")
    return said(door, found, f"{name} is revoked; change the passwords of what it reached")
