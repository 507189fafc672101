"""The files that an image consists of: itself and, for qcow2, what it builds on. Opened and looked at before qemu.

qemu is then told every file, by descriptor, and every format: it follows no name that is written in an image, and
guesses nothing. A backing file must lie in the directory of the image that the person named, below it, or in a
directory that the person allowed; symbolic links are followed first. Otherwise an image from somebody else could
name /etc/shadow, and the backup would hold it.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from media.faults import DiskResized, DiskUnreadable
from vsa.disks.formats import Format, format_of
from vsa.disks.qcow2 import Snapshot, read_qcow2_header
from vsa.disks.qemu import open_for_child
from vsa.disks.vmdk import FlatFile, read_vmdk
from vsa.faults import (
    BackingMissing,
    BackingRefused,
    ImageChanged,
    ImageMalformed,
    ImageUnsupported,
    SnapshotMissing,
)

_CHAIN_MAX = 64
_PROTOCOL = re.compile(r"^[A-Za-z0-9+.\-]*:")  # `json:`, `nbd:`, `file:`: to qemu no plain path
_VHD_FOOTER = struct.Struct(">8s40xQ4xI")  # cookie, size of the disk, kind
_VHD_FOOTER_BYTES = 512
_VHD_FIXED, _VHD_DYNAMIC = 2, 3


class _Seen(NamedTuple):
    size: int
    written_at: int


@dataclass
class Layers:
    """Open files of one image. Close them when the image is done with."""

    path: Path
    node: dict[str, Any] = field(default_factory=dict)  # as `blockdev-add` of qemu takes it
    fds: list[int] = field(default_factory=list)
    snapshot: Snapshot | None = None
    flat: FlatFile | None = None
    _seen: dict[int, tuple[Path, _Seen]] = field(default_factory=dict)

    def check(self) -> None:
        """Raises ImageChanged or DiskResized when a file is not as it was when it was opened."""
        for fd, (path, before) in self._seen.items():
            now = _look(fd)
            if now.size != before.size:
                raise DiskResized(f"{path}: expected {before.size} bytes, found {now.size}")
            if now != before:
                raise ImageChanged(f"{path}: somebody wrote to it while it was read")

    def checkable(self) -> Iterator[dict[str, Any]]:
        """Every node that can be wrong in itself, as if it built on nothing."""
        node: dict[str, Any] | None = self.node
        while node is not None:
            if node["driver"] != "raw":
                yield {**node, "backing": None} if "backing" in node else node
            node = node.get("backing")

    def close(self) -> None:
        """May be called twice."""
        while self.fds:
            os.close(self.fds.pop())

    def open(self, path: Path, missing: Callable[[str], Exception]) -> tuple[int, os.stat_result]:
        """One more file, read-only. Raises `missing(...)`, DiskUnreadable."""
        try:
            self.fds.append(open_for_child(path, os.O_RDONLY | os.O_NONBLOCK))  # a FIFO must not keep us waiting
        except FileNotFoundError as error:
            raise missing(f"{path}: no such file") from error
        except OSError as error:
            raise DiskUnreadable(f"{path}: cannot be opened: {error.strerror}") from error
        found = os.fstat(self.fds[-1])
        self._seen[self.fds[-1]] = (path, _look(self.fds[-1]))
        return self.fds[-1], found


def _look(fd: int) -> _Seen:
    found = os.fstat(fd)
    return _Seen(found.st_size, found.st_mtime_ns)


def open_layers(path: Path, format: Format, snapshot: str | None, backing_dirs: Iterable[Path]) -> Layers:
    """Open an image of any format but raw. Raises SourceFault."""
    layers = Layers(path)
    allowed = [path.resolve().parent, *(directory.resolve() for directory in backing_dirs)]
    try:
        if format is Format.QCOW2:
            layers.node = _qcow2(layers, path, snapshot, allowed)
        else:
            if snapshot is not None:
                raise SnapshotMissing(f"{path}: expected internal snapshots, found a {format.value} image, without")
            fd, found = layers.open(path, ImageMalformed)
            layers.node = {"driver": format.driver, "file": _file(fd, found)}
            if format is Format.VMDK:
                layers.flat = read_vmdk(fd, path)
                layers.node["backing"] = None
            elif format is Format.VHD:
                layers.node |= _vhd(fd, path, found.st_size)
    except OSError as error:
        layers.close()
        raise DiskUnreadable(f"{path}: {error.strerror}") from error
    except BaseException:
        layers.close()
        raise
    return layers


def _qcow2(layers: Layers, path: Path, snapshot: str | None, allowed: list[Path]) -> dict[str, Any]:
    """The node of a qcow2 image and of what it builds on."""
    top: dict[str, Any] = {}
    node, format, inodes = top, Format.QCOW2, set[tuple[int, int]]()
    while True:
        fd, found = layers.open(path, BackingMissing)
        if node is not top and Path(f"/proc/self/fd/{fd}").readlink() != path:
            raise BackingRefused(f"{path}: somebody put another file there at this moment")
        if (found.st_dev, found.st_ino) in inodes or len(inodes) >= _CHAIN_MAX:
            raise ImageMalformed(f"{layers.path}: expected a chain of {_CHAIN_MAX} files at most, found {path} again")
        inodes.add((found.st_dev, found.st_ino))
        node |= {"driver": format.driver, "file": _file(fd, found)}
        if format is not Format.QCOW2:
            return top
        header = read_qcow2_header(fd, path)
        if node is top and snapshot is not None:
            layers.snapshot = _snapshot(path, header.snapshots, snapshot, header.size)
        if header.backing is None:
            node["backing"] = None
            return top
        backing = _backing(path, header.backing, allowed)
        format = _backing_format(backing, header.backing_format)
        node["backing"] = {}
        path, node = backing, node["backing"]


def _snapshot(path: Path, there: list[Snapshot], name: str, size: int) -> Snapshot:
    chosen = next((one for one in there if one.name == name), None) or next(
        (one for one in there if one.id == name), None
    )
    if chosen is None:
        names = ", ".join(repr(one.name) for one in there[:20]) or "none at all"
        raise SnapshotMissing(f"{path}: expected the internal snapshot {name!r}, found {names}")
    if chosen.size is not None and chosen.size != size:
        raise ImageUnsupported(f"{path}: the disk had {chosen.size} bytes at snapshot {name!r}, and has {size} now")
    return chosen


def _backing(path: Path, name: str, allowed: list[Path]) -> Path:
    if _PROTOCOL.match(name):
        raise BackingRefused(f"{path}: expected a file to build on, found {name!r}")
    try:
        backing = (path.parent / name).resolve()
        if not any(backing.is_relative_to(directory) for directory in allowed):
            raise BackingRefused(
                f"{path}: builds on {str(backing)!r}, outside of its directory; --backing-dir "
                f"{str(backing.parent)!r} allows it, if you trust whoever made the image"
            )
        mode = backing.stat().st_mode
    except FileNotFoundError as error:
        raise BackingMissing(f"{path}: builds on {str(backing)!r}, which is not there") from error
    except (RuntimeError, ValueError) as error:
        raise BackingRefused(f"{path}: builds on {name!r}: {error}") from error
    if not stat.S_ISREG(mode):
        raise BackingRefused(f"{path}: expected a regular file to build on, found {str(backing)!r}")
    return backing


def _backing_format(path: Path, said: str | None) -> Format:
    if said is None:
        return _readable(path, format_of(path, None))
    known = {format.driver: format for format in Format}
    if said not in known:
        raise ImageUnsupported(f"{path}: expected a format to build on that is read here, found {said!r}")
    return _readable(path, format_of(path, known[said]))


def _readable(path: Path, format: Format) -> Format:
    if format not in (Format.QCOW2, Format.RAW):
        raise ImageUnsupported(f"{path}: expected qcow2 or raw to build on, found {format.value}")
    return format


def _file(fd: int, found: os.stat_result) -> dict[str, Any]:
    driver = "host_device" if stat.S_ISBLK(found.st_mode) else "file"
    return {"driver": driver, "filename": f"/proc/self/fd/{fd}"}


def _vhd(fd: int, path: Path, size: int) -> dict[str, Any]:
    """What to tell qemu of a VHD besides its file.

    qemu believes a footer at the very beginning before the one at the end; in a fixed VHD those bytes are the guest's.
    And it takes every VHD that is not dynamic for fixed, also a differencing one.
    """
    footer = os.pread(fd, _VHD_FOOTER.size, max(0, size - _VHD_FOOTER_BYTES))
    if len(footer) < _VHD_FOOTER.size or not footer.startswith(b"conectix"):
        raise ImageMalformed(f"{path}: expected a VHD footer in its last {_VHD_FOOTER_BYTES} bytes, found none")
    _, disk_size, kind = _VHD_FOOTER.unpack(footer)
    if kind == _VHD_DYNAMIC:
        return {}
    if kind != _VHD_FIXED:
        raise ImageUnsupported(f"{path}: expected a fixed or dynamic VHD, found one of kind {kind}")
    if disk_size != size - _VHD_FOOTER_BYTES:
        raise ImageMalformed(f"{path}: expected {size - _VHD_FOOTER_BYTES} bytes of disk, found {disk_size}")
    return {"driver": "raw", "size": disk_size}
