"""The `Disk` port: give me these bytes. What the write path reads from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from media.extents import Extent


class Disk(Protocol):
    """A disk that does not change while it is read. Safe to use from several threads at once."""

    @property
    def size(self) -> int:
        """Bytes."""

    def data_extents(self, offset: int, length: int) -> Iterator[Extent]:
        """What of [offset, offset + length) may hold something else than zeros; normal. All of it is a right answer."""

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes at `offset`.

        Raises DiskUnreadable for an I/O error, DiskResized when the disk ends before the buffer is full.
        """

    def check(self) -> None:
        """Raise DiskResized when the disk no longer has the size it had when it was opened."""
