"""A `check` assignment: can a hypervisor be reached as it was told, and is its user allowed what is needed?"""

from __future__ import annotations

from typing import Any

from proto.agent.work import Work
from vsa.hypervisors.known import Known


def check(work: Work, known: Known) -> dict[str, Any]:
    """What was reached, and what is missing there. Raises what connecting does: then it cannot be reached."""
    work.begin("check", 0)
    found = known.check(work.assignment.check.hypervisor)
    for each in found["missing"]:
        where = ", ".join(each["on"]) + (", ..." if each["objects"] > len(each["on"]) else "")
        count = f"{each['objects']} of {each['of']}"
        work.warnings.append(f"privilege {each['privilege']}, for {each['for']}, is missing on {count}: {where}")
    return found
