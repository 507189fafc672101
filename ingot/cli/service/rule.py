"""`ingot rule`: which machines a plan protects."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ingot.cli.service.asking import Door, asking, id_of, names_by_id, said, tell, text
from ingot.quantities import count_text

rules = typer.Typer(
    no_args_is_help=True, help="Which machines a plan protects: the first rule that matches a machine decides."
)

Plan = Annotated[
    str | None, typer.Option("--plan", metavar="NAME", help="The plan; without it what matches is left out.")
]
NamePattern = Annotated[
    list[str] | None, typer.Option("--name", metavar="PATTERN", help="Machines with one of these names: web-*.")
]
Folder = Annotated[
    list[str] | None, typer.Option("--folder", metavar="PATTERN", help="In one of these folders, or below.")
]
Tag = Annotated[list[str] | None, typer.Option("--tag", metavar="PATTERN", help="With one of these tags.")]
Pool = Annotated[
    list[str] | None, typer.Option("--resource-pool", metavar="PATTERN", help="In one of these pools, or below.")
]
Power = Annotated[
    list[str] | None, typer.Option("--power-state", metavar="STATE", help="on, off, suspended or unknown.")
]
Attribute = Annotated[
    list[str] | None, typer.Option("--attribute", metavar="NAME=PATTERN", help="With this custom attribute.")
]
Position = Annotated[int, typer.Option(metavar="N", help="Lower ones are asked first.")]


@rules.command("list")
@asking
def list_(door: Door) -> int:
    """List the rules in the order in which they are asked."""
    plans = names_by_id(door.rest, "plans")
    found = sorted(door.rest.all("/rules"), key=lambda rule: (rule["position"], rule["id"]))
    columns = [
        text("position"),
        text("name"),
        ("PLAN", lambda rule: plans.get(rule["plan_id"], "(left out)")),
        ("CONDITIONS", lambda rule: _conditions_text(rule["conditions"])),
    ]
    return tell(door, found, columns, "no rules", frozenset({0}))


@rules.command("add")
@asking
def add(
    door: Door,
    rule: Annotated[str, typer.Argument(metavar="RULE", help="What to call it.")],
    plan: Plan = None,
    name: NamePattern = None,
    folder: Folder = None,
    tag: Tag = None,
    resource_pool: Pool = None,
    power_state: Power = None,
    attribute: Attribute = None,
    position: Position = 100,
    preview: Annotated[bool, typer.Option("--preview", help="Only say what it would change.")] = False,
) -> int:
    """Add a rule, after saying what it changes. Without conditions it matches every machine.

    Example:

        ingot rule add web --plan daily --name 'web-*'
    """
    body: dict[str, Any] = {
        "plan_id": None if plan is None else id_of(door.rest, "plans", plan),
        "conditions": {
            "names": name or [],
            "folders": folder or [],
            "tags": tag or [],
            "resource_pools": resource_pool or [],
            "power_states": power_state or [],
            "attributes": dict(_attribute(each) for each in attribute or []),
        },
        "position": position,
    }
    found = door.rest.post("/rules/preview", body)
    lines = [
        f"matches {count_text(found['matched'], 'machine')}, decides for {found['won']}: "
        f"{found['newly_protected']} newly protected, {found['no_longer_protected']} no longer, "
        f"{found['moved']} moved, {count_text(found['first_backups'], 'first backup')}"
    ]
    if preview:
        return door.screen.result(found, lines)
    added = door.rest.post("/rules", {"name": rule, **body})
    return door.screen.result({**added, "preview": found}, [*lines, f"added {rule}"])


@rules.command("remove")
@asking
def remove(
    door: Door,
    rule: Annotated[str, typer.Argument(metavar="RULE")],
) -> int:
    """Remove a rule; the next one that matches decides."""
    door.rest.delete(f"/rules/{id_of(door.rest, 'rules', rule)}")
    return said(door, None, f"removed {rule}")


def _attribute(text_: str) -> tuple[str, str]:
    name, equals, pattern = text_.partition("=")
    if not equals or not name or not pattern:
        raise typer.BadParameter(f"expected NAME=PATTERN, found {text_!r}", param_hint="--attribute")
    return name, pattern


def _conditions_text(conditions: dict[str, Any]) -> str:
    said_ = [f"{key}: {value}" for key, value in conditions.items() if value]
    return "; ".join(said_) or "every machine"
