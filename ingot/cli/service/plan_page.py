"""A plan for people."""

from __future__ import annotations

from typing import Any

from ingot.quantities import shown, size_text, time_text


def lines_of(plan: dict[str, Any], pools: dict[str, str]) -> list[str]:
    """What it says, a line a subject; inside a subject only what differs from nothing."""
    schedule = plan["schedule"]
    facts = {
        "plan": plan["name"],
        "pool": pools.get(plan["pool_id"], "none: nothing is backed up yet"),
        "due": f"{schedule['cron'] or 'when somebody asks'} {schedule['time_zone']}",
        "next": f"{time_text(plan['next_due_at'])} UTC" if plan["next_due_at"] else "",
        "schedule": "" if plan["enabled"] else "disabled",
        "windows": _hours(schedule["windows"]),
        "blackouts": _hours(schedule["blackouts"]),
        "keeps": f"{kept(plan['retention'])}, never fewer than {plan['retention']['floor']}",
        "promises": f"a point that is never older than {plan['sla_minutes']} min" if plan["sla_minutes"] else "",
        "limits": _said(plan["limits"]),
        "machines": _said(plan["hold"]),
        "level": str(plan["level"]),
    }
    return [f"{name:<11}{shown(value)}" for name, value in facts.items() if value]


def _hours(hours: list[dict[str, Any]]) -> str:
    return "; ".join(f"{' '.join(each['days'])} {each['start']}-{each['end']}" for each in hours)


def _said(part: dict[str, Any]) -> str:
    words = ((name.replace("_", " "), _value(value)) for name, value in part.items())
    return ", ".join(f"{name} {value}" for name, value in words if value)


def _value(value: Any) -> str:
    """Nothing for what is not set."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return "; ".join(each if isinstance(each, str) else _bandwidth(each) for each in value)
    return str(value or "")


def _bandwidth(hours: dict[str, Any]) -> str:
    return f"{size_text(hours['bytes_per_second'])}/s {_hours([hours])}"


def kept(retention: dict[str, Any]) -> str:
    """How many of what stay."""
    kinds = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
    return ", ".join(f"{retention[kind]} {kind}" for kind in kinds if retention[kind])
