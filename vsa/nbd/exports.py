"""What a server has to show: read-only disks by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from media.extents import Extent
from vsa.nbd.numbers import ExportFlag
from vsa.nbd.wire import BlockSizes

READ_MAX_BYTES = 32 << 20  # what every client may ask for without asking whether it may
BLOCK_SIZES = BlockSizes(minimum=1, preferred=4096, maximum=READ_MAX_BYTES)


class ReadableDisk(Protocol):
    """A disk that does not change. Safe to use from several threads. `media.disk_view.DiskView` is one."""

    @property
    def size(self) -> int:
        """Bytes."""

    def cached(self, offset: int, length: int) -> list[memoryview] | None:
        """The bytes at `offset` in pieces, if that takes no waiting; else None."""

    def pieces(self, offset: int, length: int) -> list[memoryview]:
        """The same, however long it takes. Raises ExtentLost, and other faults."""

    def data_extents(self, offset: int, length: int) -> Iterator[Extent]:
        """What of it may hold something else than zeros; normal. Raises faults."""


@dataclass(frozen=True)
class Export:
    """A disk under a name. The description is for people."""

    name: str
    description: str
    disk: ReadableDisk

    def flags(self, *, structured: bool) -> ExportFlag:
        """What a client is told of it."""
        flags = ExportFlag.HAS_FLAGS | ExportFlag.READ_ONLY | ExportFlag.CAN_MULTI_CONN
        return flags | ExportFlag.SEND_DF if structured else flags


class Exports:
    """All of them. The empty name means the only one, where there is only one."""

    def __init__(self, exports: Mapping[str, Export]) -> None:
        self._export_by_name = dict(exports)

    def find(self, name: str) -> Export | None:
        """The export that a client means."""
        if name == "" and len(self._export_by_name) == 1:
            return next(iter(self._export_by_name.values()))
        return self._export_by_name.get(name)

    def __iter__(self) -> Iterator[Export]:
        return iter(self._export_by_name.values())
