"""Work that lasts longer than a ticket: a CommServe, a MediaAgent and a VSA's work, by a clock that the work moves."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prometheus_client import CollectorRegistry

from commserve.agents.assignments import TICKET_LIFE
from commserve.store.tables import agents, pools
from media.backup import Source
from media.session_log import ParentDisk
from proto import agents_pb2
from proto.agent.loop import Loop
from proto.agent.metrics import AgentMetrics
from proto.agent.work import Work
from runtime.clock import SystemClock
from tests.commserve.agents.wire import Wire
from tests.commserve.office import Office, machine
from tests.mediaagent.served import AGENT, Served
from vsa.backup.job import Means, back_up
from vsa.faults import MachineMoved
from vsa.hypervisors import Purpose
from vsa.hypervisors.known import Known
from vsa.restore.job import restore

HOURS = 60
LEASE_SECONDS = 2 * 3600  # here reports come each hour, not every other second


class Site:
    """All three, and one machine."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.office = Office(directory)
        stack.callback(self.office.close)
        self.office.clock.moment = datetime.now(UTC)  # TLS looks at the machine's own clock
        self.wire = Wire(self.office, directory)
        stack.callback(self.wire.close)
        line, agent = self.wire.join("vsa", "v")
        line.register(agent.about())
        self.vsa, self._line = agent.caller, line
        self.media = Served(directory / "mediaagent", now=self.now)
        stack.callback(self.media.close)
        self.media.trust.ticket_key = self.office.services.authority.ticket_public_key
        self._loop = Loop(
            line, agent.about, {}, 1, self.office.clock, AgentMetrics(CollectorRegistry())
        )  # never started: what it says of work is said when a test wants it

    def now(self) -> float:
        return self.office.clock.moment.timestamp()

    def protect(self, images: Path) -> str:
        """The machine is known, and its pool is the MediaAgent's; the plan's id."""
        office, here = self.office, self.media.address
        media = office.agent("mediaagent")
        with office.store.writing() as connection:
            where = f"lan={here.host}:{here.control_port}:{here.data_port}"
            changed = {"id": AGENT.id, "addresses": [where]}
            connection.execute(sa.update(agents).where(agents.c.id == media).values(**changed))
        self.pool = office.pool(agent=AGENT.id)
        with office.store.writing() as connection:
            connection.execute(sa.update(pools).values(repository_id=str(self.media.pool.id)))
        lab = office.hypervisor(settings={"directory": str(images)})
        office.discover(lab, machine("web1", id="web1"))
        plan = office.plan(pool_id=self.pool, schedule={"cron": ""})
        office.rule("all", plan, names=["web1"])
        return plan

    def leased(self, kind: str) -> Work:
        """The next job of a kind."""
        self.office.clock.pass_(seconds=1)
        request = agents_pb2.LeaseRequest(boot_id="boot", free_slots=9, wait_seconds=0)
        (assignment,) = [each for each in self._line.lease(request).assignments if each.WhichOneof("work") == kind]
        assignment.lease_seconds = LEASE_SECONDS
        return Long(self, assignment)

    def end(self, work: Work, result: Mapping[str, Any]) -> None:
        final = agents_pb2.ReportRequest(
            assignment=work.assignment.id,
            fence=work.assignment.fence,
            state=agents_pb2.ReportRequest.DONE,
            result=json.dumps(result),
        )
        self._line.report(final)

    def report(self, work: Work, state: int) -> agents_pb2.ReportReply:
        return self._loop._report(work, state)

    def hours_pass(self, work: Work, hours: int = HOURS) -> None:
        """The agent reports each hour."""
        for _ in range(hours):
            self.office.clock.pass_(hours=1)
            work.answered(self.report(work, agents_pb2.ReportRequest.RUNNING))

    def means(self, known: Any) -> Means:
        identity = self.media.authority.agent(self.vsa.role, self.vsa.id)
        return Means(identity, SystemClock(), 1, lambda _job, _fence: False, known)


class Long(Work):
    """Its first step takes long."""

    def __init__(self, site: Site, assignment: agents_pb2.Assignment) -> None:
        super().__init__(assignment, site.office.clock, site.report)
        self._site = site
        self._is_late = assignment.WhichOneof("work") == "backup"

    def advance(self, count: int) -> None:
        if not self._is_late:
            self._is_late = True
            self._site.hours_pass(self)
        super().advance(count)


class Moving:
    """Images of which a machine moves, after long, while it is read for the first time."""

    def __init__(self, site: Site, work: Work, known: Known) -> None:
        self._site = site
        self._work = work
        self._known = known

    def open(self, hypervisor: agents_pb2.Hypervisor) -> Moving:
        self._hypervisor = self._known.open(hypervisor)
        return self

    @contextmanager
    def hold(self, machine_id: str, purpose: Purpose) -> Iterator[MovingHeld]:
        with self._hypervisor.hold(machine_id, purpose) as held:
            yield MovingHeld(held, lambda: self._site.hours_pass(self._work))


class MovingHeld:
    def __init__(self, held: Any, long: Any) -> None:
        self._held = held
        self._long = long
        self._moved = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._held, name)

    def sources(self, parent: Mapping[str, ParentDisk]) -> list[Source]:
        if not self._moved:
            self._moved = True
            self._long()
            raise MachineMoved("it is elsewhere now")
        sources: list[Source] = self._held.sources(parent)
        return sources


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path, stack)


def test_a_backup_and_a_restore_of_sixty_hours_go_through(site: Site, tmp_path: Path) -> None:
    assert 2 * TICKET_LIFE.total_seconds() < HOURS * 3600
    images, landing = tmp_path / "images", tmp_path / "landing"
    (images / "web1").mkdir(parents=True)
    landing.mkdir()
    disks = {f"disk-{number}.raw": os.urandom(300_000) for number in range(2)}
    for name, content in disks.items():
        (images / "web1" / name).write_bytes(content)
    (images / "web1/machine.json").write_text(json.dumps({"id": "web1"}))
    plan = site.protect(images)
    known = Known(SystemClock(), lambda _sealed, _owner: b"")

    site.office.post(f"/plans/{plan}/run")
    work = site.leased("backup")
    first = work.ticket
    result = back_up(work, site.means(Moving(site, work, known)))
    assert work.ticket != first
    site.end(work, result)

    wanted = {"pool_id": site.pool, "point": result["recovery_point"], "directory": str(landing / "web1")}
    site.office.post("/restores", wanted)
    work = site.leased("restore")
    site.end(work, restore(work, site.means(known), [landing]))
    assert {name: (landing / "web1" / name).read_bytes() for name in disks} == disks
    known.close()
