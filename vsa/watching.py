"""A `watch` assignment: what changes in a hypervisor's inventory, told to the CommServe as it changes."""

from __future__ import annotations

from typing import Any

from proto import agents_pb2
from proto.agent.line import Line
from proto.agent.work import Work
from runtime.clock import Clock
from vsa.discovery import encode
from vsa.hypervisors.known import Known


def watch(work: Work, line: Line, known: Known, clock: Clock) -> dict[str, Any]:
    """For as long as the assignment says. Raises HypervisorUnknown, and what connecting and reading do."""
    wanted = work.assignment.watch
    until = clock.monotonic_seconds() + wanted.seconds
    work.begin("watch", 0)
    told = 0

    def go_on() -> bool:
        work.check()
        return clock.monotonic_seconds() < until

    for changes in known.following(wanted.hypervisor, go_on):
        work.advance(1)  # it looked: that is all the progress there is
        if changes.machines or changes.gone:
            told += len(changes.machines) + len(changes.gone)
            line.changed(
                agents_pb2.MachinesChanged(
                    assignment=work.assignment.id,
                    fence=work.assignment.fence,
                    machines=[encode(machine) for machine in changes.machines],
                    gone=changes.gone,
                )
            )
    return {"changes": told}
