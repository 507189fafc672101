"""Images that the real qemu made."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from media.extents import Extent

SUBFORMATS = {
    "qcow2": (),
    "vmdk": (),
    "stream.vmdk": ("-o", "subformat=streamOptimized"),
    "flat.vmdk": ("-o", "subformat=monolithicFlat"),
    "vhdx": (),
    "vhd": ("-o", "force_size=on"),
    "fixed.vhd": ("-o", "force_size=on,subformat=fixed"),
    "vdi": (),
}


def need_qemu() -> None:
    """Skip where qemu's tools are not installed; never where all checks run."""
    missing = [name for name in ("qemu-img", "qemu-nbd", "qemu-io") if shutil.which(name) is None]
    if missing:
        assert "CI" not in os.environ, f"{missing} must be installed where all checks run"
        pytest.skip(f"{', '.join(missing)} not installed")


def qemu(*arguments: str | Path) -> str:
    """Run a program of qemu, which must be good; what it said on stdout."""
    done = subprocess.run([*map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def random_disk(seed: int, size: int) -> tuple[bytes, list[Extent]]:
    """A disk of noise and holes, and where there is noise."""
    chance = random.Random(seed)
    disk, extents, position = bytearray(size), [], 0
    while position < size:
        length = min(size - position, chance.choice((512, 4096, 70_144, 262_144)))
        if chance.random() < 0.5:
            disk[position : position + length] = chance.randbytes(length)
            extents.append(Extent(position, length))
        position += length
    return bytes(disk), extents


@contextmanager
def serving(image: Path, driver: str, place: Path, *options: str) -> Iterator[str]:
    """A qemu-nbd of one image on a socket, for one connection after the other; the export's URL."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place))
        listening.listen(1)
        command = ("qemu-nbd", "--persistent", "-f", driver, *options, str(image))
        server = subprocess.Popen(
            ("sh", "-c", 'export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@" 3<&0 </dev/null', "sh", *command),
            stdin=listening.fileno(),
        )
    try:
        yield f"nbd+unix:///?socket={place}"
    finally:
        server.terminate()
        server.wait()


def sparse_file(path: Path, content: bytes, extents: list[Extent]) -> Path:
    """A raw image of them."""
    with path.open("wb") as file:
        file.truncate(len(content))
        for extent in extents:
            file.seek(extent.offset)
            file.write(content[extent.offset : extent.end])
    return path


def make_image(directory: Path, kind: str, raw: Path) -> Path:
    """The same disk as `raw` in one of SUBFORMATS."""
    suffix = kind.rpartition(".")[2]
    path = directory / f"disk.{suffix}"
    driver = "vpc" if suffix == "vhd" else suffix
    qemu("qemu-img", "convert", "-f", "raw", "-O", driver, *SUBFORMATS[kind], raw, path)
    return path


def read_back(path: Path, driver: str, directory: Path) -> bytes:
    """What qemu itself reads out of an image."""
    raw = directory / "read-back"
    qemu("qemu-img", "convert", "-f", driver, "-O", "raw", path, raw)
    content = raw.read_bytes()
    raw.unlink()
    return content
