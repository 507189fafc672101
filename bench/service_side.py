"""The programs that `bench.services` measures, each a process: a MediaAgent, a writer, a reader, one that locates.

Each prints one JSON object. Wall and CPU seconds are of the verb, connecting included, without starting Python.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry

from commserve.trust.authority import open_authority
from media.backup import Backup, Source
from media.container_reader import containers_of
from media.key_slots import KeyFile
from media.known_chunks import Fingerprints
from media.local_log import LocalLog
from media.pool import Parameters, Pool, create_pool, open_pool
from media.reader import DiskRestore
from media.recovery_point import Machine, list_points, read_point
from media.repository.locate import open_place
from media.session import PAGES_SEQ, Process
from media.session_log import DiskName
from mediaagent.ddb.pool_index import Told, pool_index
from mediaagent.metrics import ServerMetrics
from mediaagent.open_pools import OpenPools, Verify
from mediaagent.server import MediaAgentServer, Room
from proto.channels import Caller
from proto.data_plane import MOST_FINGERPRINTS
from proto.tickets import Ticket, sign
from runtime.certificates import Identity, key_pem, load_identity, new_key, save_identity, signing_request
from runtime.clock import SystemClock
from runtime.logs import configure
from runtime.tasks import in_parallel, worker_count
from vsa.backup.remote_log import RemoteLog, Wanted
from vsa.disks.image import ImageDisk
from vsa.disks.nbd import NbdDisk
from vsa.disks.target import open_target
from vsa.media_agent import Address, MediaAgentLine, Patience
from vsa.nbd.client import connect
from vsa.nbd.url import parse_nbd_url
from vsa.restore.remote_disk import RemoteDiskRestore, open_point

AGENT, VSA = Caller("mediaagent", "a0"), Caller("vsa", "5a")
MACHINE = Machine("machine", "machine")

_LOCATED = 4_000_000
_QUIET = Told(lambda _: None, lambda _: None)


def create(place: Path) -> None:
    """A pool, an authority, and certificates of both ends."""
    place.mkdir(parents=True)
    (place / "pool.key").write_text(KeyFile.generate())
    create_pool(open_place(str(place / "repository")), _secret(place), Parameters(), SystemClock())
    authority = open_authority(place / "authority", datetime.now(UTC))
    for caller in (AGENT, VSA):
        key = new_key()
        chain, _ = authority.certify(caller, signing_request(key, caller.id), datetime.now(UTC))
        save_identity(place / caller.role, Identity(key_pem(key), chain, authority.pem))


def _secret(place: Path) -> KeyFile:
    return KeyFile((place / "pool.key").read_text())


def _pool(place: Path) -> Pool:
    return open_pool(open_place(str(place / "repository")), _secret(place))


@dataclass
class Nobody:
    """Is denied."""

    agents: frozenset[str] = frozenset()
    heard_at: float = field(default_factory=lambda: time.monotonic() + 1e9)


@dataclass
class Trusting:
    ticket_key: bytes
    denied: Nobody = field(default_factory=Nobody)


def serve(place: Path, verify: str) -> None:
    """Until standard input ends."""
    configure("mediaagent", "error", sys.stderr)
    authority = open_authority(place / "authority", datetime.now(UTC))
    pools, clock = OpenPools(), SystemClock()
    pools.add("bench", _pool(place), place / "index", Verify[verify.upper()])
    server = MediaAgentServer(
        load_identity(place / AGENT.role),
        "127.0.0.1:0",
        "127.0.0.1:0",
        pools,
        Trusting(authority.ticket_public_key),
        Room(),
        clock,
        time.time,
        ServerMetrics(CollectorRegistry()),
    )
    print(json.dumps({"control": server.control_port, "data": server.data_port, "pid": os.getpid()}), flush=True)
    sys.stdin.read()
    server.stop(0)
    pools.close()


@contextmanager
def line(place: Path, ports: tuple[int, int], pool: uuid.UUID) -> Iterator[MediaAgentLine]:
    """To the MediaAgent."""
    authority = open_authority(place / "authority", datetime.now(UTC))
    end = int(time.time()) + 3600
    ticket = Ticket(VSA.uri, uuid.uuid4().hex, 1, MACHINE.id, str(pool), ("backup", "restore"), (), end)
    patience = Patience(SystemClock(), time.sleep)
    identity = load_identity(place / VSA.role)
    text = sign(ticket, authority.ticket_key)
    made = MediaAgentLine(AGENT, Address("127.0.0.1", *ports), identity, lambda: text, patience)
    try:
        yield made
    finally:
        made.close()


def _known_pool(place: Path) -> uuid.UUID:
    """The pool's number, as a VSA has it from its assignment."""
    return uuid.UUID(json.loads((place / "repository/ingot.json").read_text())["repository"])


def _disk(place: str) -> ImageDisk | NbdDisk:
    """An image file, or what an NBD server at a URL exports."""
    if place.startswith("nbd"):
        url = parse_nbd_url(place)
        return NbdDisk(connect(url, SystemClock()), str(url))
    return ImageDisk(Path(place))


def backup(place: Path, disks: list[str], ports: tuple[int, int] | None) -> int:
    """All disks of the machine; the bytes that were read."""
    clock = SystemClock()
    with ExitStack() as stack:
        sources = [Source(str(n), stack.enter_context(_disk(path))) for n, path in enumerate(disks)]
        names = [DiskName(source.key, source.disk.size) for source in sources]
        if ports is None:
            pool = _pool(place)
            index = stack.enter_context(pool_index(pool, place / "index", _QUIET, []))
            parent = list_points(pool).newest_of(MACHINE.id)
            log: LocalLog | RemoteLog = LocalLog.begin(
                pool, index.known, index.containers, clock, Process.this(), MACHINE, names, parent
            )
        else:
            number = _known_pool(place)
            there = stack.enter_context(line(place, ports, number))
            log = RemoteLog.begin(there, Wanted(str(number), MACHINE, names, "auto"), clock)
        report = Backup(log, sources, clock, 1, worker_count(), lambda _: None).run({})
        return int(report.point.statistics["read_bytes"])


def restore(place: Path, ports: tuple[int, int] | None) -> int:
    """All disks of the newest point to files; the bytes that were written."""
    to, written = place / "restored", 0
    to.mkdir(exist_ok=True)
    with ExitStack() as stack:
        if ports is None:
            pool = _pool(place)
            index = stack.enter_context(pool_index(pool, place / "index", _QUIET, []))
            commit = list_points(pool).newest_of(MACHINE.id)
            assert commit is not None
            for disk in read_point(pool, commit).disks:
                with open_target(to / str(disk.disk), disk.size, overwrite=True) as target:
                    run = DiskRestore(pool, index.containers, disk, target, worker_count(), lambda _: None)
                    written += run.run().bytes_written
                    target.finish()
        else:
            number = _known_pool(place)
            newest = max((place / "repository/rp").iterdir()).name
            there = stack.enter_context(line(place, ports, number))
            point = open_point(there, str(number), newest)
            for told in point.opened.disks:
                with open_target(to / str(told.disk), told.size, overwrite=True) as target:
                    remote = RemoteDiskRestore(there, point, told, target, worker_count(), lambda _: None)
                    written += remote.run().bytes_written
                    target.finish()
    return written


def locate(place: Path, ports: tuple[int, int]) -> dict[str, float]:
    """All fingerprints that are stored, in the order of a disk; how many a second, the first time and again."""
    pool = _pool(place)
    with pool_index(pool, place / "other-index", _QUIET, []) as index:
        cids = sorted(cid for cid in containers_of(pool.repository) if cid & 0xFFFFFF < PAGES_SEQ)
        footers = [index.containers.footer(cid)["fingerprint"] for cid in cids]
    stored = np.concatenate(footers)
    asked = np.ascontiguousarray(np.tile(stored, (-(-_LOCATED // len(stored)), 1))[:_LOCATED])
    number = _known_pool(place)
    rates = {}
    with line(place, ports, number) as there:
        log = RemoteLog.begin(there, Wanted(str(number), MACHINE, [DiskName("x", 1)], "none"), SystemClock())
        for name, some in (("cold", asked[: len(stored)]), ("again", asked)):
            began = time.perf_counter()
            batches = [some[at : at + MOST_FINGERPRINTS] for at in range(0, len(some), MOST_FINGERPRINTS)]
            in_parallel(worker_count(), batches, lambda _, batch: _found(log, batch))
            rates[name] = len(some) / (time.perf_counter() - began)
        log.abort("measured")
    return rates


def _found(log: RemoteLog, fingerprints: Fingerprints) -> None:
    if not log.locate(fingerprints).cids.all():
        raise SystemExit("a chunk that is stored was not found")


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=("create", "serve", "backup", "restore", "locate"))
    parser.add_argument("place", type=Path)
    parser.add_argument("more", nargs="*")
    parser.add_argument("--ports", type=int, nargs=2)
    asked = parser.parse_intermixed_args()
    ports = None if asked.ports is None else (asked.ports[0], asked.ports[1])
    if asked.verb == "serve":
        serve(asked.place, asked.more[0])
        return
    began, used = time.perf_counter(), _cpu_seconds()
    result: dict[str, float] = {}
    if asked.verb == "create":
        create(asked.place)
    elif asked.verb == "locate":
        assert ports is not None
        result = locate(asked.place, ports)
    else:
        result["bytes"] = (
            backup(asked.place, asked.more, ports) if asked.verb == "backup" else restore(asked.place, ports)
        )
    result["wall"] = time.perf_counter() - began
    result["cpu"] = _cpu_seconds() - used
    print(json.dumps(result))


if __name__ == "__main__":
    main()
