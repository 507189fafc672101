"""Formats of disk images, and which one an image has: what its name says, and never what its bytes say alone.

A guest writes every byte of a raw disk, also the first: it can make its disk look like a qcow2 image that builds on
/etc/shadow. Whoever believes the bytes reads that file into the guest's backup. So the name decides, the bytes must
agree, and where a name says nothing the bytes must not look like any format at all.
"""

from __future__ import annotations

import stat
from enum import Enum
from pathlib import Path
from typing import BinaryIO

from vsa.faults import ImageFormatUnclear, ImageMalformed

_PEEK_BYTES = 512


class Format(Enum):
    """An image format, by the name that people give it."""

    RAW = "raw"
    QCOW2 = "qcow2"
    VMDK = "vmdk"
    VHD = "vhd"
    VHDX = "vhdx"
    VDI = "vdi"

    @property
    def driver(self) -> str:
        """What qemu calls it."""
        return "vpc" if self is Format.VHD else self.value


_BY_SUFFIX = {f".{format.value}": format for format in Format} | {".vpc": Format.VHD, ".qcow": Format.QCOW2}


def format_of_name(path: Path) -> Format | None:
    """What the suffix says; None when it says nothing."""
    return _BY_SUFFIX.get(path.suffix.lower())


def format_of(path: Path, asked: Format | None) -> Format:
    """The format of the image at `path`, `asked` for by the person or said by its name.

    Raises ImageFormatUnclear, ImageMalformed when the bytes are not of the format that was asked for or said; OSError.
    """
    said = asked or format_of_name(path)
    if said is Format.RAW or (asked is None and stat.S_ISBLK(path.stat().st_mode)):
        return Format.RAW  # what lies on a device is the guest's, whatever the device is called
    with path.open("rb") as file:
        found = _look(file)
    if said is None and found is not None:
        raise ImageFormatUnclear(
            f"{path}: expected a name that ends in .{found.value}, as the image looks like one, or in .raw; "
            f"--format {found.value} or --format raw says which it is"
        )
    if said is not None and found is not said:
        raise ImageMalformed(f"{path}: expected a {said.value} image, found {found.value if found else 'no such one'}")
    return said or Format.RAW


def _look(file: BinaryIO) -> Format | None:
    """What the bytes look like."""
    head = file.read(_PEEK_BYTES)
    if head.startswith(b"QFI\xfb"):
        return Format.QCOW2
    if head.startswith((b"KDMV", b"COWD", b"# Disk DescriptorFile")):
        return Format.VMDK
    if head.startswith(b"vhdxfile"):
        return Format.VHDX
    if head[64:68] == b"\x7f\x10\xda\xbe":
        return Format.VDI
    file.seek(max(0, file.seek(0, 2) - 512))
    return Format.VHD if b"conectix" in (head[:8], file.read(8)) else None
