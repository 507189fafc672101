"""NTFS disks: files of a system image, copied into a new NTFS by its driver, which lays them out in its own way.

So a disk holds files that other disks hold too, at other offsets, between other metadata. Needs root and the programs
`mkntfs` and `ntfs-3g`, whose driver runs in user space.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bench.changes import copy_sparse
from bench.next_day import use
from bench.run import run, say
from bench.system_image import mounted

PROGRAMS = ("boot", "etc", "usr/bin", "usr/lib", "usr/sbin")  # not usr/share: 40 000 small files by that driver
DATA = ("var/lib/app", "var/log/app")
TREES = PROGRAMS + DATA


def make(system: Path, image: Path, size_bytes: int) -> None:
    """Write an NTFS of `size_bytes` with the files of `system`; it appears only when complete."""
    part = image.with_suffix(".part")
    try:
        with part.open("wb") as file:
            file.truncate(size_bytes)
        run(("mkntfs", "--quick", "--force", "--quiet", "--sector-size", "512", part))
        with mounted(system, "ro") as files, _ntfs(part) as root:
            for tree in TREES:
                say(f"ntfs: copying {tree}")
                _copy(files / tree, root / tree)
        part.rename(image)
    finally:
        part.unlink(missing_ok=True)


def make_next_day(system: Path, before: Path, image: Path, seed: int = 4) -> None:
    """Write what a day makes of `before`: programs that are newer in `system`, and a day of use."""
    part = image.with_suffix(".part")
    try:
        copy_sparse(before, part)
        with mounted(system, "ro") as files, _ntfs(part) as root:
            for tree in PROGRAMS:
                _copy(files / tree, root / tree, "--update")
            use(root, np.random.default_rng(seed))
        part.rename(image)
    finally:
        part.unlink(missing_ok=True)


def _copy(files: Path, to: Path, *how: str) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    run(("cp", "-r", "-T", "--preserve=timestamps", *how, files, to))


@contextmanager
def _ntfs(image: Path) -> Iterator[Path]:
    """The files of an NTFS image, mounted beside it for as long as the `with` block runs."""
    at = image.with_suffix(".ntfs")
    at.mkdir(exist_ok=True)
    try:
        run(("ntfs-3g", "-o", "big_writes,noatime", image, at))
        try:
            yield at
        finally:
            run(("umount", at))
    finally:
        at.rmdir()
