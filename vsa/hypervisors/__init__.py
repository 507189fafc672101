"""The `Hypervisor` port: which machines there are, and their disks held still while they are read.

A vCenter will be one; a directory of disk images is one (`vsa.hypervisors.images`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from media.backup import Source
from media.recovery_point import JSON


@dataclass(frozen=True)
class DiskSeen:
    """A disk as an inventory shows it; size in bytes."""

    key: str
    name: str
    size: int


@dataclass(frozen=True)
class MachineSeen:
    """A machine as an inventory shows it.

    `id` names its recovery points and stays when it is renamed or moved. `reason` says why it cannot be protected.
    """

    id: str
    name: str
    folder: str = ""
    tags: tuple[str, ...] = ()
    power_state: str = "unknown"  # on | off | suspended | unknown
    attributes: Mapping[str, str] = field(default_factory=dict)
    disks: tuple[DiskSeen, ...] = ()
    reason: str | None = None


@dataclass(frozen=True)
class Held:
    """A machine that does not change while it is read."""

    machine: MachineSeen
    sources: list[Source]
    description: JSON  # what a restore needs to know of it besides its disks


class Hypervisor(Protocol):
    """Safe to use from several threads at once."""

    def discover(self) -> Iterator[MachineSeen]:
        """All machines, in any order. Raises HypervisorUnreachable."""

    def hold(self, machine: str) -> AbstractContextManager[Held]:
        """Hold the machine with this id; it is let go of however the context ends.

        Raises HypervisorUnreachable, MachineMissing, MachineUnfit and what its disks do.
        """
