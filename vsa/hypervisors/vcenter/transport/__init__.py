"""The `Transport` port: a way to the bytes of one disk of a snapshot. Chosen for each disk, and told with the job.

Today `nbd`: an NBD server on a Unix socket, started for the disk (`nbdkit`) or there already (`url`). Attaching the
disk to the agent's own machine, and leases over HTTPS, are other transports behind the same port.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from media.disk import Disk
from vsa.hypervisors.receiving import OpenTarget


@dataclass(frozen=True)
class DiskPlace:
    """One disk of a snapshot, or of a machine, as a transport finds it."""

    machine: str  # MoRefs
    snapshot: str  # empty: the machine's own disk as it is now, which must be turned off
    device_key: int
    file: str  # `[datastore] path` of the snapshot's own layer
    size: int


class OpenDisk(Disk, Protocol):
    """Closed before the snapshot is removed: a host does not remove what it serves."""

    def close(self) -> None:
        """No byte is read any more. May be called twice."""


class Transport(Protocol):
    """Threads share it."""

    @property
    def name(self) -> str:
        """For people: `nbd (nbdkit vddk)`."""

    def unfit(self, place: DiskPlace) -> str | None:
        """Why this transport cannot read that disk; None where it can."""

    def open(self, place: DiskPlace) -> OpenDisk:
        """Raises TransportFailed, NbdFault."""

    def overwrite(self, place: DiskPlace, *, reads_zero: bool) -> OpenTarget:
        """To write to it. `reads_zero`: nothing was written to it yet. Raises TransportFailed, NbdFault."""
