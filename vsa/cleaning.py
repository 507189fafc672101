"""A `clean` assignment: what dead work left at a machine of a vCenter is removed."""

from __future__ import annotations

from typing import Any

from proto.agent.work import Work
from vsa.backup.job import Means
from vsa.hypervisors import Purpose, Wish


def clean(work: Work, means: Means) -> dict[str, Any]:
    """What was removed. Raises HypervisorUnknown, and what connecting and removing do."""
    wanted = work.assignment.clean
    work.begin("clean", 0)
    why = Purpose(
        site=wanted.site,
        job=work.assignment.job,
        fence=work.assignment.fence,
        wish=Wish(),
        warn=work.warnings.append,
        check=lambda: work.advance(1),  # called while the vCenter works: that is all the progress there is
        ended=means.ended,
        clock=means.clock,
    )
    return means.known.vcenter(wanted.hypervisor).clean(wanted.machine.id, why, wanted.half_made_by).told()
