"""`ingot user` and `ingot token`: people, and what lets programs in."""

from __future__ import annotations

from typing import Annotated

import typer

from ingot.cli.service.asking import Door, asking, id_of, names_by_id, said, tell, text
from ingot.quantities import time_text

users = typer.Typer(no_args_is_help=True, help="People, and what they may do.")
tokens = typer.Typer(no_args_is_help=True, help="What lets programs and this command line in.")

Name = Annotated[str, typer.Argument(metavar="NAME")]


@users.command("list")
@asking
def list_(door: Door) -> int:
    """List the people."""
    roles: dict[str, list[str]] = {}
    for binding in door.rest.all("/bindings"):
        scope = binding["scope_kind"]
        where = "" if scope == "everything" else f" of {scope} {binding['scope_id']}"
        roles.setdefault(binding["user_id"], []).append(binding["role"] + where)
    columns = [
        text("name"),
        ("ROLES", lambda user: ", ".join(roles.get(user["id"], ["-"]))),
        ("STATE", lambda user: "disabled" if user["disabled"] else "enabled"),
    ]
    return tell(door, door.rest.all("/users"), columns, "no people")


@users.command("add")
@asking
def add(
    door: Door,
    name: Name,
    role: Annotated[str, typer.Option(metavar="ROLE", help="administrator, operator or viewer")],
    plan: Annotated[str | None, typer.Option(metavar="NAME", help="Only on machines of this plan.")] = None,
    hypervisor: Annotated[str | None, typer.Option(metavar="NAME", help="Only on machines of this one.")] = None,
) -> int:
    """Add a person without a password: tokens let them in, `ingot token add NAME --user`."""
    scope = {"scope_kind": "everything", "scope_id": ""}
    if plan is not None:
        scope = {"scope_kind": "plan", "scope_id": id_of(door.rest, "plans", plan)}
    elif hypervisor is not None:
        scope = {"scope_kind": "hypervisor", "scope_id": id_of(door.rest, "hypervisors", hypervisor)}
    user = door.rest.post("/users", {"name": name})
    binding = door.rest.post("/bindings", {"user_id": user["id"], "role": role, **scope})
    return said(door, {**user, "bindings": [binding]}, f"added {name}, {role}")


@users.command("remove")
@asking
def remove(
    door: Door,
    name: Name,
) -> int:
    """Remove a person; their tokens count no more."""
    door.rest.delete(f"/users/{id_of(door.rest, 'users', name)}")
    return said(door, None, f"removed {name}")


@tokens.command("list")
@asking
def list_tokens(door: Door) -> int:
    """List tokens, never their secrets."""
    people = names_by_id(door.rest, "users")
    columns = [
        text("name"),
        ("USER", lambda token: people.get(token["user_id"], "-")),
        ("ENDS (UTC)", lambda token: time_text(token["expires_at"] or "never")),
        ("MAY", lambda token: ", ".join(token["permissions"]) or "all that the user may"),
        text("id"),
    ]
    return tell(door, door.rest.all("/tokens"), columns, "no tokens")


@tokens.command("add")
@asking
def add_token(
    door: Door,
    name: Name,
    user: Annotated[str | None, typer.Option(metavar="NAME", help="Whose; yours, without it.")] = None,
    expires_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="2026-12-31T00:00:00Z; never, without.")
    ] = None,
) -> int:
    """Make a token and print it, once: `ingot token add ci > token; chmod 600 token`."""
    body = {"name": name, "expires_at": expires_at}
    if user is not None:
        body["user_id"] = id_of(door.rest, "users", user)
    found = door.rest.post("/tokens", body)
    return said(door, found, str(found["token"]))


@tokens.command("revoke")
@asking
def revoke(
    door: Door,
    name: Name,
) -> int:
    """End a token, by its name or id."""
    door.rest.delete(f"/tokens/{id_of(door.rest, 'tokens', name)}")
    return said(door, None, f"revoked {name}")
