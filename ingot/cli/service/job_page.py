"""A job for people."""

from __future__ import annotations

from typing import Any

from ingot.quantities import count_text, rate_text, seconds_text, shown, size_text


def title_of(job: dict[str, Any]) -> str:
    """What a job is, in a few words."""
    what = f"{job['kind']} {job['machine_name'] or ''}".strip()
    return shown(f"{what} {job['state'].lower()}")


def lines_of(job: dict[str, Any]) -> list[str]:
    """One job for people."""
    lines = [f"{title_of(job)}  job {job['id']}"]
    if job["fault"]:
        lines.append(f"  why      {shown(job['fault']['message'])} [{job['fault']['code']}]")
    result = job["result"] or {}
    if "recovery_point" in result:
        lines.append(f"  point    {result['recovery_point']}")
    if "read_bytes" in result:
        rate = rate_text(result["read_bytes"], result["seconds"])
        lines.append(f"  read     {size_text(result['read_bytes'])}, {rate}; new {size_text(result['new_bytes'])}")
    lines += _held_lines(result)
    lines += [
        f"  {name:<8} {value}"
        for name, value in result.items()
        if name in ("machines", "points", "directory", "reached")
    ]
    lines += [f"  warning  {shown(warning)}" for warning in job["warnings"]]
    return lines


def _held_lines(result: dict[str, Any]) -> list[str]:
    """How a hypervisor held the machine still, and what it said of each disk."""
    if "snapshot" not in result:
        return []
    snapshot = result["snapshot"]
    made, lasted = seconds_text(snapshot["creation_seconds"]), snapshot["seconds"]
    gone = snapshot["removed"] and lasted is not None
    there = f"was there for {seconds_text(lasted)}" if gone else "is still there"
    lines = [f"  snapshot {shown(snapshot['quiesced'])}, made in {made}, {there}"]
    for disk in result.get("disks", []):
        changed = f", {size_text(disk['changed_bytes'])} changed" if "changed_bytes" in disk else ""
        reason = f": {disk['reason']}" if disk["read"] == "full" else ""
        proof = disk.get("proof") or {}
        proven = f"; proven: {count_text(proof['cells'], 'cell')} of {proof['of_cells']}" if proof else ""
        lines.append(f"  disk     {shown(disk['name'])} {disk['read']}{shown(reason)}{changed}{proven}")
    lines += [f"  left out {shown(disk['name'])}: {shown(disk['reason'])}" for disk in result.get("not_protected", [])]
    return lines
