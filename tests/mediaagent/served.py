"""A MediaAgent served on loopback with mutual TLS, and VSAs that reach it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from prometheus_client import CollectorRegistry

from media.backup import Backup, Source
from media.container_reader import ContainerReader
from media.extents import Extent
from media.pool import Parameters, Pool, create_pool
from media.reader import Outcome
from media.recovery_point import Machine, RecoveryPoint
from media.repository import Repository
from media.repository.memory import MemoryRepository
from media.session_log import DiskName
from mediaagent.metrics import ServerMetrics
from mediaagent.open_pools import OpenPools, Verify
from mediaagent.server import MediaAgentServer, Room
from proto.channels import Caller
from proto.tickets import Ticket, sign
from runtime.certificates import public_der
from runtime.clock import SystemClock
from tests.media.fakes import MemoryTarget, SparseDisk
from tests.media.workbench import MACHINE, SECRET, SMALL, seeded
from tests.proto.authority import Authority
from vsa.backup.remote_log import RemoteLog, Wanted
from vsa.media_agent import Address, MediaAgentLine, Patience
from vsa.restore.remote_disk import RemoteDiskRestore, open_point

AGENT = Caller("mediaagent", "a0")
VSA = Caller("vsa", "5a")
OTHER_VSA = Caller("vsa", "5b")


@dataclass
class Said:
    """What the CommServe said: nobody is denied, and it was heard just now."""

    agents: frozenset[str] = frozenset()
    heard_at: float = field(default_factory=time.monotonic)


@dataclass
class Trusting:
    ticket_key: bytes
    denied: Said = field(default_factory=Said)


class Served:
    """One MediaAgent with one pool."""

    def __init__(
        self,
        directory: Path,
        parameters: Parameters = SMALL,
        repository: Repository | None = None,
        verify: Verify = Verify.ALL,
        room: Room | None = None,
        pool: Pool | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`now` is the Unix time by which tickets end."""
        self.clock = SystemClock()
        self._now = now
        self._jobs = itertools.count()
        self.memory = MemoryRepository()
        if pool is None:
            with seeded(1):
                pool = create_pool(repository or self.memory, SECRET, parameters, self.clock)
        self.pool = pool
        self.authority = Authority()
        self.ticket_key = ec.generate_private_key(ec.SECP256R1())
        self.trust = Trusting(public_der(self.ticket_key.public_key()))
        self.pools = OpenPools()
        self.served = self.pools.add("test", pool, directory / "index", verify)
        self.identity = self.authority.agent(AGENT.role, AGENT.id)
        self.room = room or Room(stalled_seconds=30.0, buffer_wait_seconds=5.0)
        self.start()

    def start(self) -> None:
        self.server = MediaAgentServer(
            self.identity,
            "127.0.0.1:0",
            "127.0.0.1:0",
            self.pools,
            self.trust,
            self.room,
            self.clock,
            self._now,
            ServerMetrics(CollectorRegistry()),
        )

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self.server.control_port, self.server.data_port)

    def ticket(self, caller: Caller = VSA, machine: Machine = MACHINE, **changed: object) -> str:
        """A ticket that covers everything for an hour, but for what the test changes."""
        ticket = Ticket(
            caller.uri, "job-1", 1, machine.id, str(self.pool.id), ("backup", "restore"), (), int(time.time()) + 3600
        )
        return sign(replace(ticket, **changed), self.ticket_key)  # type: ignore[arg-type]

    @contextmanager
    def line(
        self, ticket: str | None = None, caller: Caller = VSA, address: Address | None = None, seconds: float = 20.0
    ) -> Iterator[MediaAgentLine]:
        identity = self.authority.agent(caller.role, caller.id)
        patience = Patience(self.clock, time.sleep, seconds)
        text = ticket or self.ticket(caller)
        line = MediaAgentLine(AGENT, address or self.address, identity, lambda: text, patience)
        try:
            yield line
        finally:
            line.close()

    def another_job(self, line: MediaAgentLine) -> MediaAgentLine:
        """The line, from now on with the ticket of another job: each job has one session."""
        text = self.ticket(job=f"another-{next(self._jobs)}")
        line._ticket = lambda: text
        return line

    def close(self) -> None:
        self.server.stop(0.0)
        self.pools.close()


@contextmanager
def serving(directory: Path, *arguments: object, **options: object) -> Iterator[Served]:
    with ExitStack() as stack:
        served = Served(directory, *arguments, **options)  # type: ignore[arg-type]
        stack.callback(served.close)
        yield served


def begin(line: MediaAgentLine, pool: Pool, sources: list[Source], parent: str = "auto", machine: Machine = MACHINE):
    names = [DiskName(source.key, source.disk.size) for source in sources]
    return RemoteLog.begin(line, Wanted(str(pool.id), machine, names, parent), SystemClock())


def back_up(
    line: MediaAgentLine,
    pool: Pool,
    *disks: SparseDisk | tuple[SparseDisk, list[Extent] | None],
    parent: str = "auto",
    workers: int = 2,
    machine: Machine = MACHINE,
) -> RecoveryPoint:
    """The same as `Workbench.backup`, through the network."""
    sources = []
    for number, disk in enumerate(disks):
        one, changes = disk if isinstance(disk, tuple) else (disk, None)
        sources.append(Source(f"scsi0:{number}", one, changes))
    log = begin(line, pool, sources, parent, machine)
    return Backup(log, sources, SystemClock(), 1, workers, lambda _: None).run({"cores": 2}).point


def restore(
    line: MediaAgentLine, pool: Pool, point: str, number: int = 0, *, reads_zero: bool = True
) -> tuple[MemoryTarget, Outcome]:
    opened = open_point(line, str(pool.id), point)
    disk = opened.opened.disks[number]
    target = MemoryTarget(disk.size, reads_zero=reads_zero)
    outcome = RemoteDiskRestore(line, opened, disk, target, 3, lambda _: None).run()
    target.assert_nothing_twice()
    return target, outcome


def containers(pool: Pool) -> ContainerReader:
    return ContainerReader(pool)
