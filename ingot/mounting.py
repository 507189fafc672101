"""A recovery point served over NBD, for as long as somebody wants it.

Nothing is printed here: what reads meet is told to the caller, each cause once.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ingot.embedded import Repo
from media.chunk_reader import ChunkReader
from media.disk_view import DiskView
from media.faults import ExtentLost
from media.recovery_point import DiskTree, RecoveryPoint
from vsa.nbd.exports import Export
from vsa.nbd.listening import Address, UnixAddress, listen
from vsa.nbd.server import Server

_CAUSES_MAX = 10_000  # remembered, so that each is told once


@dataclass(frozen=True)
class Mounted:
    """Disks that are being served. The exports are named by the disks' numbers."""

    address: Address
    disks: list[DiskTree]
    serve: Callable[[], None]

    def url(self, disk: DiskTree) -> str:
        """How clients name a disk."""
        return self.address.url(str(disk.disk))


@contextmanager
def private_socket() -> Iterator[UnixAddress]:
    """A place for a socket that nobody else can enter, gone afterwards."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    parent = runtime if os.access(runtime, os.W_OK | os.X_OK) else None
    with tempfile.TemporaryDirectory(prefix="ingot-mount-", dir=parent) as directory:
        yield UnixAddress(Path(directory) / "nbd.sock")


@contextmanager
def mounted(
    repo: Repo,
    point: RecoveryPoint,
    disks: list[DiskTree],
    address: Address,
    on_fault: Callable[[Exception], None],
) -> Iterator[Mounted]:
    """Listen at `address`; `serve` answers until it is interrupted. Raises NbdAddressUnusable.

    `on_fault` is told what could not be read, each cause once.
    """
    told: set[str] = set()

    def tell(_export: Export, fault: Exception) -> None:
        cause = str(fault.fault if isinstance(fault, ExtentLost) else fault)
        if cause not in told and len(told) < _CAUSES_MAX:
            told.add(cause)
            on_fault(fault)

    with ExitStack() as stack:
        listener, bound = listen(address)
        stack.enter_context(listener)
        if isinstance(bound, UnixAddress):
            stack.callback(bound.path.unlink, missing_ok=True)
        chunks = stack.enter_context(ChunkReader(repo.pool, repo.containers))
        exports = [Export(str(d.disk), _description(point, d), DiskView(repo.pool, chunks, d)) for d in disks]
        server = stack.enter_context(Server(exports, [listener], repo.clock, tell))
        yield Mounted(bound, disks, server.serve)


def _description(point: RecoveryPoint, disk: DiskTree) -> str:
    return f"disk {disk.disk} of {point.machine.name}, recovery point {point.id} of {point.time}"
