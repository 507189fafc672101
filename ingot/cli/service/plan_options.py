"""What a person may say of a plan, and the parts of the plan that it changes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

Pool = Annotated[str | None, typer.Option(metavar="NAME", help="Where recovery points go; without it, the only pool.")]
Cron = Annotated[
    str | None, typer.Option(metavar="CRON", help="Minute, hour, day, month, weekday; empty: only when asked.")
]
TimeZone = Annotated[str | None, typer.Option(metavar="ZONE", help="Of the schedule: Europe/Berlin.")]
Daily = Annotated[int | None, typer.Option(metavar="N", min=0, help="Keep the newest point of so many days.")]
Weekly = Annotated[int | None, typer.Option(metavar="N", min=0, help="Of so many weeks.")]
Monthly = Annotated[int | None, typer.Option(metavar="N", min=0, help="Of so many months.")]
Yearly = Annotated[int | None, typer.Option(metavar="N", min=0, help="Of so many years.")]
Last = Annotated[int | None, typer.Option(metavar="N", min=0, help="And so many of the newest.")]
Sla = Annotated[
    int | None,
    typer.Option("--sla", metavar="MINUTES", min=0, help="The newest point is never older; 0: no promise."),
]
Quiesce = Annotated[
    str | None,
    typer.Option(metavar="LEVEL", help="What vSphere guests are asked for: application, filesystem or crash."),
]
FallBack = Annotated[
    bool | None,
    typer.Option("--fall-back/--no-fall-back", help="Take a lower level, with a warning, where that fails."),
]
ExcludeDisk = Annotated[
    list[str] | None, typer.Option(metavar="DISK", help="Leave out disks with this name or key. Repeatable.")
]
ProofDays = Annotated[
    int | None,
    typer.Option(metavar="DAYS", min=0, help="Read unchanged parts too, each once in so many; 0: never."),
]
Level = Annotated[int | None, typer.Option(min=1, max=19, metavar="N", help="Level of zstd compression.")]

_PART = {
    "cron": "schedule",
    "time_zone": "schedule",
    **dict.fromkeys(("last", "daily", "weekly", "monthly", "yearly"), "retention"),
    **dict.fromkeys(("quiesce", "fall_back", "exclude_disks", "proof_days"), "hold"),
}
PARTS = ("schedule", "retention", "limits", "hold")
WHOLE = ("name", "pool_id", "enabled", "level", "sla_minutes", *PARTS)


def with_given(plan: dict[str, Any], **given: Any) -> dict[str, Any]:
    """A plan with what was said in place of what it has; `None` was not said."""
    found = {**plan, **{part: dict(plan.get(part) or {}) for part in PARTS}}
    for name, value in given.items():
        if value is not None:
            (found[_PART[name]] if name in _PART else found)[name] = value
    return found
