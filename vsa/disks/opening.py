"""From what a person names to the `Disk` that it is: a raw image, an image that qemu reads, an NBD export."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path

from media.faults import DiskUnreadable
from runtime.clock import Clock
from vsa.disks.formats import Format, format_of
from vsa.disks.image import ImageDisk
from vsa.disks.layers import open_layers
from vsa.disks.qemu_image import QemuImageDisk
from vsa.faults import ImageMissing, SnapshotMissing


@dataclass(frozen=True)
class Choice:
    """What a person says of images besides their paths."""

    format: Format | None = None  # None: as their names say
    snapshot: str | None = None
    backing_dirs: tuple[Path, ...] = ()


AS_NAMED = Choice()


def open_image(path: Path, choice: Choice, clock: Clock) -> ImageDisk | QemuImageDisk:
    """Raises SourceFault: ImageFormatUnclear, ImageMalformed, BackingRefused, ImageLocked, QemuMissing, ..."""
    format = _format(path, choice.format)
    if format is Format.RAW:
        if choice.snapshot is not None:
            raise SnapshotMissing(f"{path}: expected internal snapshots, found a raw image, without")
        return ImageDisk(path)
    layers = open_layers(path, format, choice.snapshot, choice.backing_dirs)
    if layers.flat is not None:
        layers.close()
        return ImageDisk(layers.flat.path)
    return QemuImageDisk(layers, clock)


def _format(path: Path, asked: Format | None) -> Format:
    if path.exists() and not path.is_file() and not path.is_block_device():
        return Format.RAW  # what cannot be an image is refused there
    try:
        return format_of(path, asked)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise ImageMissing(f"{path}: no such disk image") from error
        raise DiskUnreadable(f"{path}: cannot be opened: {error.strerror}") from error
