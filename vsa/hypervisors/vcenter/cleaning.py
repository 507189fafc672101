"""What dead work left at a machine, removed: snapshots, layers that wait for consolidation, a machine half-made.

Only what the CommServe calls over for certain, and nothing at all while a snapshot of this site is there of which it
does not: whoever made that one may read, and a removal next to it would move the layers that it reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vsa.faults import HypervisorBusy, MachineUnfit
from vsa.hypervisors import Purpose
from vsa.hypervisors.vcenter import creation
from vsa.hypervisors.vcenter.connection import Connection
from vsa.hypervisors.vcenter.holding import find_machine
from vsa.hypervisors.vcenter.limits import Limits
from vsa.hypervisors.vcenter.snapshots import Snapshots


@dataclass(frozen=True)
class Cleaned:
    """What was done."""

    snapshots_removed: int = 0
    consolidated: bool = False
    unmade: bool = False

    def told(self) -> dict[str, Any]:
        return {
            "snapshots_removed": self.snapshots_removed,
            "consolidated": self.consolidated,
            "half_made_removed": self.unmade,
        }


def clean(connection: Connection, limits: Limits, machine_id: str, why: Purpose, half_made_by: str) -> Cleaned:
    """`half_made_by`: this restore job is over, and the machine goes too if it left it half-made; empty: it stays.

    Raises HypervisorBusy while this agent works on the machine, MachineMissing, MachineUnfit, and what removing does.
    """

    def busy() -> None:
        why.check()
        raise HypervisorBusy(f"{machine_id}: another job of this agent works on it")

    machine = find_machine(connection, machine_id)
    with limits.machine(machine_id, "", frozenset(), busy):
        if half_made_by:
            mark = creation.mark_of(connection, machine)
            if mark != half_made_by:
                whose = f"of job {mark}" if mark else "none"
                raise MachineUnfit(f"{machine_id}: expected one half-made by job {half_made_by}, found {whose}")
            creation.unmake(connection, machine)
            return Cleaned(unmade=True)
        snapshots = Snapshots(connection, machine, why)
        if snapshots.somebody_reads():
            why.warn("nothing is removed: a snapshot of a job is there that may go on, or that nobody here knows")
            return Cleaned()
        removed = snapshots.remove_orphans(why.check)
        connection.counts.orphans_removed(removed)
        about = connection.properties(machine, "runtime.consolidationNeeded")
        consolidated = bool(about.get("runtime.consolidationNeeded")) and snapshots.consolidate(why.check)
        return Cleaned(removed, consolidated)
