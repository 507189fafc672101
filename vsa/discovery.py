"""A `discover` assignment: what machines a hypervisor has, told to the CommServe in pages."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from proto import agents_pb2
from proto.agent.line import Line
from proto.agent.work import Work
from vsa.hypervisors import MachineSeen
from vsa.hypervisors.known import Known

_PAGE = 500  # machines


def discover(work: Work, line: Line, known: Known) -> dict[str, Any]:
    """All machines, also those that cannot be protected. Raises HypervisorUnknown, HypervisorUnreachable."""
    wanted = work.assignment.discover.hypervisor
    work.begin("discover", 0)
    hypervisor = known.open(wanted)
    # Read to its end before a page is sent: a hypervisor that fails half-way has no machines that are gone.
    machines = list(hypervisor.discover())
    return {"machines": line.discovered(_pages(work, wanted.id, machines, work.assignment.discover.site))}


def _pages(work: Work, hypervisor: str, machines: list[MachineSeen], site: str) -> Iterator[agents_pb2.MachinesPage]:
    starts = range(0, len(machines), _PAGE) or range(1)
    for start in starts:
        work.check()
        yield agents_pb2.MachinesPage(
            assignment=work.assignment.id,
            fence=work.assignment.fence,
            hypervisor=hypervisor,
            machines=[encode(each, site) for each in itertools.islice(machines, start, start + _PAGE)],
            last=start == starts[-1],
        )


def encode(machine: MachineSeen, site: str = "") -> agents_pb2.Machine:
    """As the CommServe of this site keeps it: snapshots of other sites are none of its business."""
    told = agents_pb2.Machine(
        id=machine.id,
        name=machine.name,
        folder=machine.folder,
        tags=machine.tags,
        power_state=machine.power_state,
        attributes=machine.attributes,
        disks=[
            agents_pb2.DiskSeen(key=disk.key, name=disk.name, size=disk.size, reason=disk.reason or "")
            for disk in machine.disks
        ],
        protectable=machine.reason is None,
        reason=machine.reason or "",
        source=machine.source,
        resource_pool=machine.resource_pool,
        host=machine.host,
        datastores=machine.datastores,
    )
    left = machine.leftovers
    if left is not None:
        ours = [each for each in left.snapshots if each.site == site]
        told.leftovers.CopyFrom(
            agents_pb2.Leftovers(
                snapshots=[
                    agents_pb2.SnapshotSeen(job=each.job, fence=each.fence, taken_at=each.taken_at) for each in ours
                ],
                consolidation_needed=left.consolidation_needed,
                restoring=left.restoring,
            )
        )
    return told
