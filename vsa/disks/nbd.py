"""A disk behind an NBD export: a child of ours that opened an image, or a server somewhere."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

from media.extents import Extent
from media.faults import DiskResized, DiskUnreadable
from vsa.faults import NbdFailed
from vsa.nbd.client import NbdClient
from vsa.nbd.numbers import BASE_ALLOCATION, DIRTY, DIRTY_BITMAP, Allocation


class NbdDisk:
    """The bytes of an export. A `Disk`.

    The server answers for them not to change: an export of a machine that runs must be of one moment.
    """

    def __init__(self, client: NbdClient, name: str) -> None:
        """`name` is for faults."""
        self._client = client
        self._name = name

    @property
    def size(self) -> int:
        return self._client.export.size

    def data_extents(self, offset: int, length: int) -> Iterator[Extent]:
        """What the server does not say is zero; all of it where the server does not tell."""
        end = min(offset + length, self.size)
        if BASE_ALLOCATION not in self._client.export.contexts:
            if offset < end:
                yield Extent(offset, end - offset)
            return
        yield from self._joined(BASE_ALLOCATION, offset, end, Allocation.ZERO, 0)

    def dirty_extents(self, bitmap: str) -> list[Extent] | None:
        """What a dirty bitmap of the server's marks; None when the server did not agree to tell."""
        context = DIRTY_BITMAP + bitmap
        if context not in self._client.export.contexts:
            return None
        return list(self._joined(context, 0, self.size, DIRTY, DIRTY))

    def read_into(self, offset: int, buffer: memoryview) -> None:
        if offset + len(buffer) > self.size:
            raise DiskResized(f"{self._name}: expected {offset + len(buffer)} bytes, found {self.size}")
        try:
            self._client.read_into(offset, buffer)
        except NbdFailed as fault:
            raise DiskUnreadable(str(fault)) from fault

    def check(self) -> None:
        """The size is agreed on with the connection, and cannot change while it lasts."""

    def close(self) -> None:
        """Disconnect. May be called twice."""
        self._client.close()

    def __enter__(self) -> NbdDisk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _joined(self, context: str, offset: int, end: int, mask: int, wanted: int) -> Iterator[Extent]:
        """The extents whose flags under `mask` are `wanted`; those that touch in one."""
        open_ = Extent(offset, 0)
        try:
            for extent, flags in self._client.status(context, offset, max(0, end - offset)):
                if flags & mask != wanted:
                    continue
                if open_.end == extent.offset:
                    open_ = Extent(open_.offset, open_.length + extent.length)
                    continue
                if open_.length:
                    yield open_
                open_ = extent
        except NbdFailed as fault:
            raise DiskUnreadable(str(fault)) from fault
        if open_.length:
            yield open_
