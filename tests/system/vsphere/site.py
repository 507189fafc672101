"""A vCenter with machines, a cloud's vCenter, a MediaAgent, and an agent that restores between them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from media.recovery_point import Machine, RecoveryPoint, read_commit, read_point
from proto import agents_pb2
from proto.agent.work import Work
from runtime.clock import SystemClock
from tests.mediaagent.served import AGENT, VSA, Served
from tests.sim.vcenter.sim_machine import SimMachine
from tests.sim.vcenter.vcenter import Vcenter
from tests.vsa.hypervisors.purposes import SITE
from tests.vsa.hypervisors.vcenter.site import NBDKIT
from vsa.backup.job import Means, back_up
from vsa.hypervisors.known import Known
from vsa.restore.job import restore

GO_ON = agents_pb2.ReportReply(answer=agents_pb2.ReportReply.GO_ON)
Report = Callable[[Work, int], agents_pb2.ReportReply]


class Site:
    """`known` is the agent's; it keeps its connections."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.clock = SystemClock()
        self.known = Known(self.clock, lambda sealed, owner: sealed)
        self.warnings: list[str] = []
        self.jobs = 0

    def hypervisor(self, vcenter: Vcenter) -> agents_pb2.Hypervisor:
        """As the CommServe tells the agent; the seal is left out."""
        settings = {
            "address": vcenter.address,
            "user": vcenter.user,
            "authority": vcenter.certificate.read_text(),
            "nbd": {"vddk": "/opt/vddk"},
        }
        return agents_pb2.Hypervisor(
            id=vcenter.name,
            name=vcenter.name,
            kind="vcenter",
            settings=json.dumps(settings),
            sealed_secret=vcenter.password.encode(),
        )

    def protect(self, vcenter: Vcenter, machine: SimMachine) -> RecoveryPoint:
        """A recovery point of the machine as it is now."""
        about = Machine(f"{vcenter.instance_uuid}:{machine.instance_uuid}", machine.name)
        wanted = agents_pb2.Backup(
            hypervisor=self.hypervisor(vcenter),
            machine=agents_pb2.Machine(id=about.id, name=about.name),
            pool=agents_pb2.Pool(id=str(self.served.pool.id)),
            media_agents=self._media_agents,
            parent="none",
            level=1,
            hold=agents_pb2.Hold(site=SITE, quiesce=agents_pb2.Hold.CRASH),
        )
        result = back_up(self._work(about, lambda *_: GO_ON, backup=wanted), self._means)
        commit = read_commit(self.served.pool, int(result["recovery_point"], 16))
        assert commit is not None
        return read_point(self.served.pool, commit)

    def restore(
        self,
        point: RecoveryPoint,
        vcenter: Vcenter,
        *,
        disks: list[int] | None = None,
        job: str = "",
        report: Report = lambda *_: GO_ON,
        begun: Callable[[Work], None] = lambda _: None,
        how: int = agents_pb2.MachineTarget.NEW,
        **target: Any,
    ) -> dict[str, Any]:
        """What the job results in. `warnings` are those of the last one."""
        wanted = agents_pb2.Restore(
            pool=agents_pb2.Pool(id=str(self.served.pool.id)),
            media_agents=self._media_agents,
            point=point.id,
            disks=disks or [],
            machine=agents_pb2.MachineTarget(hypervisor=self.hypervisor(vcenter), how=how, **target),
        )
        work = self._work(point.machine, report, job, restore=wanted)
        self.warnings = work.warnings
        begun(work)
        return restore(work, self._means, [])

    @property
    def _media_agents(self) -> list[agents_pb2.MediaAgent]:
        here = self.served.address
        address = f"lan={here.host}:{here.control_port}:{here.data_port}"
        return [agents_pb2.MediaAgent(id=AGENT.id, addresses=[address])]

    @property
    def _means(self) -> Means:
        identity = self.served.authority.agent(VSA.role, VSA.id)
        return Means(identity, self.clock, 2, lambda *_: True, self.known)

    def _work(self, machine: Machine, report: Report, job: str = "", **kind: Any) -> Work:
        self.jobs += 1
        assignment = agents_pb2.Assignment(
            id="a",
            job=job or f"job-{self.jobs}",
            attempt=1,
            fence=self.jobs,
            lease_seconds=600,
            ticket=self.served.ticket(machine=machine),
            **kind,
        )
        return Work(assignment, self.clock, report)


@contextmanager
def site(served: Served) -> Iterator[Site]:
    made = Site(served)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PATH", f"{NBDKIT.parent}:{os.environ['PATH']}")
        try:
            yield made
        finally:
            made.known.close()
