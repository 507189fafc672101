"""The descriptor of a VMDK image, as far as one must know it before another program opens the image.

A descriptor names the files that hold the data, and any file could be named. So only two kinds are read: an image that
is one file by itself (monolithicSparse, streamOptimized), and a descriptor with one flat file in its own directory,
which is a raw image then.
"""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from vsa.faults import ImageMalformed, ImageUnsupported

SECTOR_BYTES = 512

_SPARSE = struct.Struct("<4sIIQQQQ")  # magic, version, flags, capacity, grain, descriptor at, descriptor length
_DESCRIPTOR_MAX_BYTES = 64 << 10
_NO_PARENT = ("ffffffff", "4294967295")
_EXTENT = re.compile(r'^RW\s+(\d+)\s+(\w+)(?:\s+"([^"]*)")?(?:\s+(\d+))?\s*$', re.MULTILINE)
_PARENT = re.compile(r"^\s*parentCID\s*=\s*\"?(\w+)\"?\s*$", re.MULTILINE)
_CONVERT = "`qemu-img convert` makes one that is read"


@dataclass(frozen=True)
class FlatFile:
    """The file beside a descriptor that holds the bytes of the disk, and how many."""

    path: Path
    size: int


def read_vmdk(fd: int, path: Path) -> FlatFile | None:
    """Where the data is: in one flat file, or, when None, in the image itself.

    Raises ImageMalformed, ImageUnsupported, OSError.
    """
    head = os.pread(fd, SECTOR_BYTES, 0)
    if head.startswith(b"COWD"):
        raise ImageUnsupported(f"{path}: a delta of ESXi; {_CONVERT}")
    if not head.startswith(b"KDMV"):
        return _flat(path, _descriptor(os.pread(fd, _DESCRIPTOR_MAX_BYTES, 0)))
    if len(head) < _SPARSE.size:
        raise ImageMalformed(f"{path}: expected {SECTOR_BYTES} bytes of header, found {len(head)}")
    _, _, _, capacity, _, descriptor_at, descriptor_length = _SPARSE.unpack_from(head)
    if capacity == 0 or descriptor_at == 0:
        raise ImageUnsupported(f"{path}: one of several files of a disk; {_CONVERT}")
    length = descriptor_length * SECTOR_BYTES
    if descriptor_at >= 1 << 40 or not 0 < length <= _DESCRIPTOR_MAX_BYTES:
        raise ImageMalformed(f"{path}: expected a descriptor of 64 KiB at most, found {length} bytes")
    _refuse_parent(path, _descriptor(os.pread(fd, length, descriptor_at * SECTOR_BYTES)))
    return None


def _descriptor(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("utf-8", "replace")


def _refuse_parent(path: Path, descriptor: str) -> None:
    parents = [parent.lower() for parent in _PARENT.findall(descriptor)]
    if not parents:
        raise ImageMalformed(f"{path}: expected a descriptor with one parentCID, found none")
    if any(parent not in _NO_PARENT for parent in parents):
        raise ImageUnsupported(f"{path}: a delta of a snapshot; back up the disk that it was consolidated to")


def _flat(path: Path, descriptor: str) -> FlatFile:
    _refuse_parent(path, descriptor)
    extents = _EXTENT.findall(descriptor)
    if len(extents) != 1 or extents[0][1] not in ("FLAT", "VMFS") or extents[0][3] not in ("", "0"):
        raise ImageUnsupported(f"{path}: expected one flat file that holds the disk, found another kind; {_CONVERT}")
    sectors, _, name, _ = extents[0]
    flat = path.parent / name
    if not name or "/" in name or name in (".", "..") or flat.is_symlink():
        raise ImageUnsupported(f"{path}: expected a file in its own directory, found {name!r}")
    if not flat.is_file():
        raise ImageMalformed(f"{path}: expected {name!r} beside it, found no such file")
    size = int(sectors) * SECTOR_BYTES
    if flat.stat().st_size != size:
        raise ImageMalformed(f"{flat}: expected {size} bytes as {path.name} says, found {flat.stat().st_size}")
    return FlatFile(flat, size)
