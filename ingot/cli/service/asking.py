"""What commands that ask a CommServe have in common: whom they ask, names instead of ids, tables."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec

import typer

from ingot.cli import options
from ingot.cli.screen import Screen, screen_of
from ingot.quantities import shown, table

if TYPE_CHECKING:
    from ingot.rest import Rest

P = ParamSpec("P")
PANEL = "CommServe"

CommServe = Annotated[
    str | None,
    typer.Option(
        "--commserve",
        metavar="URL",
        envvar="INGOT_COMMSERVE",
        rich_help_panel=PANEL,
        help="The CommServe, https://host:port. Without it: the one that `ingot up` started here.",
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        envvar="INGOT_TOKEN_FILE",
        rich_help_panel=PANEL,
        help="A file with your token, readable by you only.",
    ),
]
Authority = Annotated[
    Path | None,
    typer.Option(
        "--authority",
        metavar="FILE",
        envvar="INGOT_AUTHORITY",
        rich_help_panel=PANEL,
        help="Certificates that the CommServe's must come from, PEM. Without it: those of the system.",
    ),
]
Column = tuple[str, Callable[[dict[str, Any]], str]]


@dataclass(frozen=True)
class Door:
    """What a command has: the CommServe, and the screen."""

    rest: Rest
    screen: Screen


@contextmanager
def opened(screen: Screen, commserve: str | None, token_file: Path | None, authority: Path | None) -> Iterator[Door]:
    """The CommServe that the options name, or that `ingot up` left."""
    from ingot.allinone import default_state
    from ingot.rest import Connection, Rest

    with Rest(Connection.of(commserve, token_file, authority, default_state())) as rest:
        yield Door(rest, screen)


def asking(command: Callable[Concatenate[Door, P], int]) -> Callable[..., int]:
    """Make a command that asks a CommServe: it gets a `Door` first, and its options say which."""
    hints = typing.get_type_hints(command, include_extras=True)
    own = [each.replace(annotation=hints[name]) for name, each in inspect.signature(command).parameters.items()][1:]

    def run(
        context: typer.Context,
        *,
        commserve: CommServe = None,
        token_file: TokenFile = None,
        authority: Authority = None,
        json: options.Json = False,
        **given: Any,
    ) -> int:
        with opened(screen_of(context, json), commserve, token_file, authority) as door:
            return command(door, **given)  # type: ignore[call-arg]

    ours = list(inspect.signature(run, eval_str=True).parameters.values())
    context, shared = ours[0], ours[1:-1]
    named = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
    signature = inspect.Signature([context, *named, *shared], return_annotation=int)
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = signature  # type: ignore[attr-defined] # what typer reads
    run.__annotations__ = {name: each.annotation for name, each in signature.parameters.items()}
    return run


def id_of(rest: Rest, resource: str, name: str) -> str:
    """The id of what has this name or id. Raises NameUnknown."""
    from ingot.faults import NameUnknown

    for item in rest.all(f"/{resource}"):
        if name in (item["id"], item["name"]):
            return str(item["id"])
    raise NameUnknown(f"{resource}: expected one that is there, found {name!r}")


def machine_of(rest: Rest, name: str) -> str:
    """The id of the machine with this name or id: one that is there, else the last one seen. Raises NameUnknown."""
    from ingot.faults import NameUnknown

    found = [item for item in rest.all("/machines", gone=True) if name in (item["id"], item["name"])]
    if not found:
        raise NameUnknown(f"machines: expected one that is or was there, found {name!r}")
    last = max(found, key=lambda item: (item["gone_at"] is None, item["last_seen_at"]))
    return str(last["id"])


def agents_of(rest: Rest, role: str, names: list[str] | None) -> list[str]:
    """The ids of the agents with these names; without names, of all that have this role and are not revoked."""
    if names:
        return [id_of(rest, "agents", name) for name in names]
    return [str(each["id"]) for each in rest.all("/agents", role=role) if each["state"] in ("active", "draining")]


def names_by_id(rest: Rest, resource: str) -> dict[str, str]:
    """For lists that name other things."""
    return {str(item["id"]): str(item["name"]) for item in rest.all(f"/{resource}")}


def tell(
    door: Door,
    items: Iterable[dict[str, Any]],
    columns: list[Column],
    nothing: str,
    right: frozenset[int] = frozenset(),
) -> int:
    """A list: a table for people, an array for programs."""
    found = list(items)
    rows = [tuple(shown(cell(item)) for _, cell in columns) for item in found]
    lines = table(tuple(title for title, _ in columns), rows, right) if rows else [nothing]
    return door.screen.result(found, lines)


def said(door: Door, document: dict[str, Any] | None, line: str) -> int:
    """What was done, in a line."""
    return door.screen.result(document or {}, [line])


def text(name: str) -> Column:
    """A column of one member as it is."""
    return name.upper().replace("_", " "), lambda item: str(item.get(name) if item.get(name) is not None else "-")
