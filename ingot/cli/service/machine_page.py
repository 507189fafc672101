"""`ingot machine show`: one machine on a page: its disks, what protects it, its points, what was done last."""

from __future__ import annotations

from typing import Any

from ingot.cli.service.asking import Door, asking, machine_of, names_by_id
from ingot.cli.service.machine_restore import NameArgument
from ingot.quantities import count_text, shown, size_text, table, time_text

_NEWEST_POINTS = 3
_NEWEST_JOBS = 5


@asking
def show(door: Door, machine: NameArgument) -> int:
    """Show one machine: disks, what protects it, its newest recovery points and jobs."""
    key = machine_of(door.rest, machine)
    found = door.rest.get(f"/machines/{key}")
    points = list(door.rest.all("/points", machine_id=key))
    jobs = door.rest.get("/jobs", machine_id=key, limit=_NEWEST_JOBS)["items"]
    lines = [
        *_itself(door, found),
        *_left(found["leftovers"]),
        *_disks(found["disks"]),
        *_points(points),
        *_jobs(jobs),
    ]
    return door.screen.result({**found, "points": points, "jobs": jobs}, lines)


def state_of(machine: dict[str, Any]) -> str:
    """Whether it is protected, and why not."""
    if machine["gone_at"]:
        return "gone"
    if not machine["protectable"]:
        return f"cannot be protected: {machine['reason']}"
    if machine["sla"] == "excluded":  # the reason stays when the time is over
        return f"excluded: {machine['excluded_reason']}"
    if not machine["plan_id"]:
        return "not protected"
    if machine["sla"] != "none":
        return f"SLA {machine['sla']}"
    return "protected" if machine["last_point_at"] else "no recovery point yet"


def _itself(door: Door, machine: dict[str, Any]) -> list[str]:
    places = names_by_id(door.rest, "hypervisors"), names_by_id(door.rest, "plans"), names_by_id(door.rest, "rules")
    hypervisor, plan, rule = (
        names.get(machine[member], "-")
        for names, member in zip(places, ("hypervisor_id", "plan_id", "rule_id"), strict=True)
    )
    facts = {
        "machine": machine["name"],
        "id": machine["id"],
        "where": " ".join(filter(None, (hypervisor, machine["folder"]))),
        "host": machine["host"],
        "stores": ", ".join(machine["datastores"]),
        "power": machine["power_state"],
        "tags": ", ".join(machine["tags"]),
        "plan": f"{plan}, by rule {rule}" if machine["rule_id"] else plan,
        "state": state_of(machine),
        "left out": f"until {time_text(machine['excluded_until'])}" if machine["sla"] == "excluded" else "",
        "seen": f"{time_text(machine['last_seen_at'])} UTC",
    }
    return [f"{name:<9}{shown(value)}" for name, value in facts.items() if value]


def _left(leftovers: dict[str, Any]) -> list[str]:
    """What jobs, over or not, have at it."""
    lines = [
        f"snapshot of job {each['job']}, lease {each['fence']}, taken at {time_text(each['taken_at'])} UTC"
        for each in leftovers.get("snapshots", [])
    ]
    if leftovers.get("consolidation_needed"):
        lines.append("its disks need consolidation")
    if leftovers.get("restoring"):
        lines.append(f"half-made by the restore of job {leftovers['restoring']}")
    return ["", "AT THE LAST DISCOVERY", *map(shown, lines)] if lines else []


def _disks(disks: list[dict[str, Any]]) -> list[str]:
    rows = [
        (shown(disk["name"]), size_text(disk["size"]), shown(disk.get("reason") or "")) for disk in disks
    ]  # fmt: skip
    return ["", *table(("DISK", "SIZE", "LEFT OUT BECAUSE"), rows, frozenset({1}))] if rows else []


def _points(points: list[dict[str, Any]]) -> list[str]:
    if not points:
        return ["", "no recovery points"]
    rows = [
        (point["id"], time_text(point["time"]), size_text(point["stored_bytes"]), ", ".join(point["marks"]))
        for point in points[:_NEWEST_POINTS]
    ]
    more = len(points) - len(rows)
    lines = table(("POINT", "TIME (UTC)", "STORED", "MARKS"), rows, frozenset({2}))
    return ["", *lines, *([f"and {count_text(more, 'older one')}: ingot machine points"] if more else [])]


def _jobs(jobs: list[dict[str, Any]]) -> list[str]:
    rows = [
        (job["id"], job["kind"], job["state"], time_text(job["created_at"]), shown(_why(job)))
        for job in jobs
    ]  # fmt: skip
    return ["", *table(("JOB", "KIND", "STATE", "BEGAN (UTC)", "WHY"), rows)] if rows else []


def _why(job: dict[str, Any]) -> str:
    return job["fault"]["message"] if job["fault"] else "; ".join(job["warnings"][:1])
