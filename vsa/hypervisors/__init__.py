"""The `Hypervisor` port: which machines there are, and their disks held still while they are read.

A vCenter is one; a directory of disk images is one (`vsa.hypervisors.images`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from media.backup import Source
from media.recovery_point import JSON
from media.session_log import DiskName, ParentDisk
from runtime.clock import Waiting


@dataclass(frozen=True)
class DiskSeen:
    """A disk as an inventory shows it; size in bytes. `reason` says why it is left out of backups."""

    key: str
    name: str
    size: int
    reason: str | None = None


@dataclass(frozen=True)
class SnapshotSeen:
    """A snapshot of ours, by its mark: of which site, job and lease; `taken_at` by the hypervisor's clock."""

    site: str
    job: str
    fence: int
    taken_at: str


@dataclass(frozen=True)
class Leftovers:
    """What work, over or not, has at a machine. `restoring` is the restore job that has it half-made."""

    snapshots: tuple[SnapshotSeen, ...] = ()
    consolidation_needed: bool = False
    restoring: str = ""


@dataclass(frozen=True)
class MachineSeen:
    """A machine as an inventory shows it.

    `id` names its recovery points and stays when it is renamed or moved. `reason` says why it cannot be protected.
    `leftovers` is None where nobody looked for them.
    """

    id: str
    name: str
    folder: str = ""
    tags: tuple[str, ...] = ()
    power_state: str = "unknown"  # on | off | suspended | unknown
    attributes: Mapping[str, str] = field(default_factory=dict)
    disks: tuple[DiskSeen, ...] = ()
    reason: str | None = None
    resource_pool: str = ""
    source: str = ""  # what the hypervisor calls it; JSON
    host: str = ""  # where it runs
    datastores: tuple[str, ...] = ()  # where its files lie
    leftovers: Leftovers | None = None


QuiesceLevel = Literal["crash", "filesystem", "application"]


@dataclass(frozen=True)
class Wish:
    """What a plan wants of a hold.

    `excluded` are keys or names of disks that are left out. `proof_days`: every part of a disk is read once in so many,
    whatever the hypervisor says of its changes; 0 trusts it.
    """

    quiesce: QuiesceLevel = "application"
    fall_back: bool = True  # to the next lower level, with a warning; else the backup fails
    excluded: frozenset[str] = frozenset()
    snapshot_minutes: int = 24 * 60  # older than this it is let go of, whatever is still to be read
    proof_days: int = 30


@dataclass(frozen=True)
class Purpose:
    """Why a machine is held, and how its holder talks meanwhile.

    `site`, `job` and `fence`, which grows with every lease of a job, name the holder: what it leaves behind when it
    dies is known by them. `check` raises when the holder must stop. `ended(job, fence)` says whether nobody works on
    that lease of this site any more, for certain.
    """

    site: str
    job: str
    fence: int
    wish: Wish
    warn: Callable[[str], None]
    check: Callable[[], None]
    ended: Callable[[str, int], bool]
    clock: Waiting


class Held(Protocol):
    """A machine that does not change while it is read."""

    @property
    def machine(self) -> MachineSeen:
        """As it was when it was held."""

    @property
    def disks(self) -> Sequence[DiskName]:
        """Those that are protected, in order."""

    @property
    def description(self) -> JSON:
        """What a restore needs to know of it besides its disks."""

    def sources(self, parents: Mapping[str, ParentDisk]) -> list[Source]:
        """The disks to read, in that order; of those that `parents` has, what changed since, where that is known.

        To be called once the session has begun that tells the parents; again when all is read again.
        """

    def distrust(self, key: str) -> None:
        """What was said to be unchanged of a disk was not: its changes count no more until they are counted anew."""

    def let_go(self) -> None:
        """The last read is done. Begins to let go, in the background; leaving the context waits for it."""

    def report(self) -> JSON:
        """How it was held, for the job's result; complete once the context was left."""


class Hypervisor(Protocol):
    """Safe to use from several threads at once."""

    def discover(self) -> Iterator[MachineSeen]:
        """All machines, in any order. Raises HypervisorUnreachable."""

    def hold(self, machine: str, why: Purpose) -> AbstractContextManager[Held]:
        """Hold the machine with this id; it is let go of however the context ends.

        Raises HypervisorUnreachable, MachineMissing, MachineUnfit and what its disks do.
        """
