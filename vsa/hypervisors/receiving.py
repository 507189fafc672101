"""The other half of the `Hypervisor` port: a machine that takes disks in.

Whatever can be known to be wrong is raised before anything is made. What is made is complete when `complete` returned;
before that it is marked as half-made, and goes again when the context is left without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from media.disk import Disk
from media.reader import DiskWriter
from media.recovery_point import JSON

How = Literal["new", "in_place", "attach"]


@dataclass(frozen=True)
class DiskWanted:
    """A disk of the recovery point; sizes in bytes."""

    number: int
    key: str
    size: int
    data_bytes: int


@dataclass(frozen=True)
class Order:
    """What is to come back, where and how.

    `job` names who asks: what an earlier attempt of it left half-made is gone on with. In maps, what stands under the
    empty name holds for all that have no name of their own. `check` raises when the work must end.
    """

    job: str
    how: How
    description: JSON
    disks: Sequence[DiskWanted]
    warn: Callable[[str], None]
    check: Callable[[], None]
    name: str = ""
    machine: str = ""  # id of the one that is there
    datastores: Mapping[str, str] = field(default_factory=dict)
    networks: Mapping[str, str] = field(default_factory=dict)
    policies: Mapping[str, str] = field(default_factory=dict)  # to an empty name: what the datastore gives by itself
    folder: str = ""
    pool: str = ""
    thin: bool | None = None
    keep_identity: bool = False
    power_off: bool = False
    power_on: bool = False


class OpenTarget(Disk, DiskWriter, Protocol):
    """A disk of the machine, read and written through one door."""

    def finish(self) -> None:
        """What was written is durable on return."""

    def close(self) -> None:
        """May be called twice."""


class Received(Protocol):
    """The machine. Its disks may be open several at a time."""

    @property
    def about(self) -> JSON:
        """For the job's result: its id, its name."""

    def is_empty(self, number: int) -> bool:
        """Whether nothing was written to the disk with this number yet: it reads as zero."""

    def overwritten(self, number: int) -> AbstractContextManager[OpenTarget]:
        """The disk with this number of the recovery point, to be written."""

    def read(self, number: int) -> AbstractContextManager[Disk]:
        """The same, to be read back."""

    def complete(self) -> None:
        """All disks are there: late settings, the mark goes, the machine is looked at and turned on if it is to be."""
