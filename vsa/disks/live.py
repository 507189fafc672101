"""A disk of a running machine, exported over NBD as it was at one moment; and what changed since another moment.

A dirty bitmap collects what changes from the moment on at which it was made. So a recovery point records the bitmap
that was made at its own moment, and the next backup asks for exactly that one: the bitmap's name is what proves that
the changes count from the parent. That takes bitmaps whose names are never used again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from runtime.clock import Clock
from vsa.disks.nbd import NbdDisk
from vsa.faults import ImageEmpty
from vsa.nbd.client import connect
from vsa.nbd.numbers import BASE_ALLOCATION, DIRTY_BITMAP
from vsa.nbd.url import NbdUrl

_TEXT = re.compile(r"nbd-bitmap:([^/]*)/([^/]+)")


@dataclass(frozen=True)
class Checkpoint:
    """The moment of a disk at which a dirty bitmap was made; the change id of a live disk."""

    export: str
    bitmap: str

    def __str__(self) -> str:
        return f"nbd-bitmap:{quote(self.export, safe='')}/{quote(self.bitmap, safe='')}"


def checkpoint_of(change_id: str | None) -> Checkpoint | None:
    """The checkpoint that a recovery point recorded; None when it recorded nothing, or something else."""
    found = _TEXT.fullmatch(change_id or "")
    return None if found is None else Checkpoint(unquote(found[1]), unquote(found[2]))


def open_live(url: NbdUrl, since: Checkpoint | None, clock: Clock) -> NbdDisk:
    """The disk at `url`, with the bitmap of `since` when the server has it for us. Raises NbdFault, ImageEmpty."""
    client = connect(url, clock, [BASE_ALLOCATION, *([DIRTY_BITMAP + since.bitmap] if since else [])])
    if client.export.size == 0:
        client.close()
        raise ImageEmpty(f"{url}: expected a disk, found an export of 0 bytes")
    return NbdDisk(client, str(url))
