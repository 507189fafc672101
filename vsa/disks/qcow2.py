"""The header of a qcow2 image, as far as one must know it before another program opens the image.

Read here, because opening an image follows what its header names: another program would find out by doing it.
After the qcow2 specification (docs/interop/qcow2.rst of the qemu project). Everything is bounded: an image is input.
"""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from vsa.faults import ImageMalformed, ImageUnsupported

_HEAD = struct.Struct(">4sIQIIQIIQQIIQ")
_HEAD3 = struct.Struct(">QQQII")  # from byte 72 on: features, width of refcounts, length of the header
_EXTENSION = struct.Struct(">II")
_SNAPSHOT = struct.Struct(">QIHHIIQII")

_EXTENSION_END, _BACKING_FORMAT = 0, 0xE2792ACA
_CORRUPT, _EXTERNAL_DATA = 1 << 1, 1 << 2
_BEYOND = {errno.EINVAL, errno.EOVERFLOW}  # of an offset that no file has
_NAME_MAX_BYTES = 1023
_EXTENSIONS_MAX_BYTES = 64 << 10
_SNAPSHOTS_MAX, _SNAPSHOT_EXTRA_MAX_BYTES = 65_536, 1024


@dataclass(frozen=True)
class Snapshot:
    """An internal snapshot. `size` is that of its disk where the image says."""

    id: str
    name: str
    size: int | None


@dataclass(frozen=True)
class Qcow2Header:
    """What an image says of itself. `backing` is the name of the file it builds on, as it stands there."""

    size: int
    backing: str | None
    backing_format: str | None
    snapshots: list[Snapshot]


def read_qcow2_header(fd: int, path: Path) -> Qcow2Header:
    """Raises ImageMalformed, ImageUnsupported, OSError."""
    fields = _HEAD.unpack(_exactly(fd, path, 0, _HEAD.size))
    magic, version, backing_offset, backing_length, cluster_bits, size, encryption = fields[:7]
    snapshot_count, snapshots_offset = fields[11:]
    if magic != b"QFI\xfb" or version not in (2, 3):
        raise ImageMalformed(f"{path}: expected a qcow2 image of version 2 or 3, found version {version}")
    if not 9 <= cluster_bits <= 21:
        raise ImageMalformed(f"{path}: expected clusters of 512 bytes to 2 MiB, found 2^{cluster_bits}")
    features, header_length = 0, 72
    if version == 3:
        features, _, _, _, header_length = _HEAD3.unpack(_exactly(fd, path, 72, _HEAD3.size))
    if features & _CORRUPT:
        raise ImageMalformed(f"{path}: marked as corrupt; `qemu-img check -r all` on a copy may mend it")
    if features & _EXTERNAL_DATA:
        raise ImageUnsupported(f"{path}: its data lies in another file; `qemu-img convert` makes one of both")
    if encryption:
        raise ImageUnsupported(f"{path}: encrypted; `qemu-img convert` makes one that is not")
    backing = backing_format = None
    if backing_offset:
        if not 0 < backing_length <= _NAME_MAX_BYTES:
            raise ImageMalformed(f"{path}: expected a backing file's name of 1 to 1023 bytes, found {backing_length}")
        backing = os.fsdecode(_exactly(fd, path, backing_offset, backing_length))
        backing_format = _backing_format(fd, path, header_length, min(backing_offset, 1 << cluster_bits))
    return Qcow2Header(size, backing, backing_format, _snapshots(fd, path, snapshots_offset, snapshot_count))


def _backing_format(fd: int, path: Path, position: int, end: int) -> str | None:
    end = min(end, position + _EXTENSIONS_MAX_BYTES)
    while position + _EXTENSION.size <= end:
        kind, length = _EXTENSION.unpack(_exactly(fd, path, position, _EXTENSION.size))
        position += _EXTENSION.size
        if kind == _EXTENSION_END:
            break
        if length > end - position:
            raise ImageMalformed(f"{path}: a header extension of {length} bytes at {position} reaches too far")
        if kind == _BACKING_FORMAT:
            return _exactly(fd, path, position, length).decode("ascii", "replace")
        position += -(-length // 8) * 8
    return None


def _snapshots(fd: int, path: Path, position: int, count: int) -> list[Snapshot]:
    if count > _SNAPSHOTS_MAX:
        raise ImageMalformed(f"{path}: expected {_SNAPSHOTS_MAX} snapshots at most, found {count}")
    snapshots = []
    for _ in range(count):
        fields = _SNAPSHOT.unpack(_exactly(fd, path, position, _SNAPSHOT.size))
        id_length, name_length, extra_length = fields[2], fields[3], fields[8]
        if extra_length > _SNAPSHOT_EXTRA_MAX_BYTES:
            raise ImageMalformed(f"{path}: a snapshot with {extra_length} bytes of extra data at {position}")
        length = extra_length + id_length + name_length
        body = _exactly(fd, path, position + _SNAPSHOT.size, length)
        size = int.from_bytes(body[8:16], "big") if extra_length >= 16 else None
        id_end = extra_length + id_length
        snapshots.append(
            Snapshot(
                body[extra_length:id_end].decode("utf-8", "replace"), body[id_end:].decode("utf-8", "replace"), size
            )
        )
        position += -(-(_SNAPSHOT.size + length) // 8) * 8
    return snapshots


def _exactly(fd: int, path: Path, offset: int, length: int) -> bytes:
    try:
        found = os.pread(fd, length, offset)
    except (OverflowError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _BEYOND:
            raise
        found = b""
    if len(found) != length:
        raise ImageMalformed(f"{path}: expected {length} bytes at {offset}, found {len(found)}: the image is cut off")
    return found
