"""A simulated vCenter and a MediaAgent on real sockets, and a VSA's jobs between them.

Jobs run in this process, because a test drives what the guest and the vCenter do between any two of their steps.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from media.pool import Parameters
from media.recovery_point import Machine
from proto import agents_pb2
from proto.agent.work import Work
from runtime.clock import SystemClock
from tests.mediaagent.served import AGENT, VSA, Served, serving
from tests.sim.vcenter.sim_machine import SimMachine
from tests.sim.vcenter.vcenter import Vcenter
from tests.system.kept import disks_of
from tests.vsa.hypervisors.purposes import SITE
from tests.vsa.hypervisors.vcenter.site import NBDKIT
from vsa.backup.job import Means, back_up
from vsa.hypervisors.known import Known

MIB = 1 << 20
GO_ON = agents_pb2.ReportReply(answer=agents_pb2.ReportReply.GO_ON)
PARAMETERS = Parameters(average_chunk_bytes=65536, container_bytes=4 * MIB, segment_bytes=4 * MIB)


class Calendar(SystemClock):
    """A clock on which days go by when a test says so. It waits no time."""

    def __init__(self) -> None:
        self.days = 0.0

    def now(self) -> str:
        moment = datetime.now(UTC) + timedelta(days=self.days)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def sleep(self, seconds: float) -> None:
        super().sleep(min(seconds, 0.01))


@dataclass
class Moment:
    """A recovery point and what its disks held when it was made, by key."""

    point: str
    digest_by_key: dict[str, str]
    result: dict[str, Any]
    warnings: list[str]


@dataclass
class Office:
    """`machine` is backed up again and again; `moments` is what came of it."""

    vcenter: Vcenter
    served: Served
    known: Known
    clock: Calendar
    moments: list[Moment] = field(default_factory=list)
    ended: Callable[[str, int], bool] = lambda _job, _fence: False
    fence: int = 0

    def back_up(
        self,
        machine: SimMachine,
        report: Callable[[Work, int], agents_pb2.ReportReply] = lambda *_: GO_ON,
        meanwhile: Callable[[], None] = lambda: None,
        *,
        remember: bool = True,
        **hold: Any,
    ) -> Moment:
        """`meanwhile` is called when the snapshot is there and nothing was read yet.

        What the disks held is remembered; not for who has disks too large for that.
        """
        self.fence += 1
        identity = f"{self.vcenter.instance_uuid}:{machine.instance_uuid}"
        ticket = self.served.ticket(machine=Machine(identity, machine.name), job=f"job-{self.fence}")
        assignment = agents_pb2.Assignment(
            id="a",
            job=f"job-{self.fence}",
            attempt=1,
            fence=self.fence,
            lease_seconds=600,
            ticket=ticket,
            backup=self._asked(machine, identity, hold),
        )
        frozen: dict[str, str] = {}

        def ended(job: str, fence: int) -> bool:
            return self.ended(job, fence)

        work = Work(assignment, self.clock, report)
        begin = work.begin

        def begun(phase: str, total_bytes: int) -> None:
            snapshot = machine.snapshots[-1]
            for number, key in enumerate(sorted(machine.machine.disks)):
                if remember and key in snapshot.layers:
                    held = machine.disk_bytes(number, snapshot)
                    frozen[machine.disk(number).uuid.lower()] = hashlib.sha256(held).hexdigest()
            meanwhile()
            begin(phase, total_bytes)

        work.begin = begun  # type: ignore[method-assign]
        means = Means(self.served.authority.agent(VSA.role, VSA.id), self.clock, 2, ended, self.known)
        result = back_up(work, means)
        moment = Moment(result["recovery_point"], frozen, json.loads(json.dumps(result)), list(work.warnings))
        self.moments.append(moment)
        return moment

    def _asked(self, machine: SimMachine, identity: str, hold: dict[str, Any]) -> agents_pb2.Backup:
        settings = {
            "address": self.vcenter.address,
            "user": self.vcenter.user,
            "authority": self.vcenter.certificate.read_text(),
            "nbd": {"vddk": "/opt/vddk"},
        }
        here = self.served.address
        address = f"lan={here.host}:{here.control_port}:{here.data_port}"
        return agents_pb2.Backup(
            hypervisor=agents_pb2.Hypervisor(
                id="vc", name="vc", kind="vcenter", settings=json.dumps(settings), sealed_secret=b"sealed"
            ),
            machine=agents_pb2.Machine(id=identity, name=machine.name),
            pool=agents_pb2.Pool(id=str(self.served.pool.id)),
            media_agents=[agents_pb2.MediaAgent(id=AGENT.id, addresses=[address])],
            parent="auto",
            level=1,
            hold=agents_pb2.Hold(site=SITE, **hold),
        )

    def restored(self, moment: Moment) -> dict[str, str]:
        """Digests of what the point holds, by key."""
        return {disk.key: disk.digest for disk in disks_of(self.served.pool, moment.point)}

    def assert_all_restore(self) -> None:
        """Every point, byte for byte."""
        for moment in self.moments:
            assert self.restored(moment) == moment.digest_by_key, moment.result


@contextmanager
def office(directory: Path, parameters: Parameters = PARAMETERS) -> Iterator[Office]:
    clock = Calendar()
    with (
        pytest.MonkeyPatch.context() as patched,
        Vcenter(directory / "vcenter") as vcenter,
        serving(directory / "mediaagent", parameters) as served,
    ):
        patched.setenv("PATH", f"{NBDKIT.parent}:{os.environ['PATH']}")
        known = Known(clock, lambda _sealed, _owner: vcenter.password.encode())
        try:
            yield Office(vcenter, served, known, clock)
        finally:
            known.close()
        assert vcenter.unexpected == []


def scribble(rng: random.Random, machine: SimMachine, writes: int) -> None:
    """A guest at work: small and large writes, zeros, the same again, the end of the disk."""
    for _ in range(writes):
        disk = rng.randrange(len(machine.machine.disks))
        size = machine.disk(disk).size
        length = min(size, rng.choice((512, 4096, 5000, 65536, 300_000)))
        at = rng.choice((0, size - length, rng.randrange(size - length + 1)))
        data = rng.choice((bytes(length), rng.randbytes(length), machine.disk_bytes(disk, None, at, length)))
        machine.guest_write(disk, at, data)
