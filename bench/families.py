"""The families of corpora: what is backed up, three disks each that belong together.

A family's first disk is a machine, its second the same machine one day later, its third another machine of the kind.
`ext4` is made before `ntfs`, which takes its files.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import archives, database_image, next_day, ntfs_image, synthetic, system_image

Make = Callable[[Path, int], None]  # an image's path and its size


@dataclass(frozen=True)
class Corpus:
    """One image to be made: `how` for people, `make` for us, `after` the image it is one day later than."""

    name: str
    how: str
    make: Make
    after: str | None = None


@dataclass(frozen=True)
class Family:
    """`corpora` are those in a folder: first, one day later, another machine. `programs` must be installed."""

    name: str
    share: float  # of the size asked for
    corpora: Callable[[Path], tuple[Corpus, Corpus, Corpus]]
    programs: tuple[str, ...] = ()
    needs_root: bool = True

    def missing(self, uid: int) -> list[str]:
        """What this machine lacks to make it."""
        root = ["root"] if self.needs_root and uid else []
        return root + [program for program in self.programs if shutil.which(program) is None]

    def images(self, folder: Path) -> tuple[Path, Path, Path]:
        """Where its images lie."""
        first, day, other = self.corpora(folder)
        return folder / f"{first.name}.raw", folder / f"{day.name}.raw", folder / f"{other.name}.raw"


def _ext4(folder: Path) -> tuple[Corpus, Corpus, Corpus]:
    first, other = system_image.FIRST, system_image.OTHER
    return (
        Corpus(first.name, _installation(first), lambda image, size: system_image.make(first, image, size)),
        Corpus(
            "system-1",
            "system-0 one day later: security updates, packages installed, logs grown, database pages written, "
            "files deleted, all through a mounted file system",
            lambda image, _: next_day.make(folder / f"{first.name}.raw", image),
            after=first.name,
        ),
        Corpus(other.name, _installation(other), lambda image, size: system_image.make(other, image, size)),
    )


def _installation(system: system_image.System) -> str:
    order = "; ".join(" ".join(packages) for packages in system.installed)
    return f"{system_image.RELEASE} minbase, then in this order: {order}; a database and a log; ext4 {system.uuid}"


def _ntfs(folder: Path) -> tuple[Corpus, Corpus, Corpus]:
    trees = ", ".join(ntfs_image.TREES)
    return (
        Corpus(
            "ntfs-0",
            f"NTFS with {trees} of system-0, copied by its driver",
            lambda image, size: ntfs_image.make(folder / "system-0.raw", image, size),
        ),
        Corpus(
            "ntfs-1",
            "ntfs-0 one day later: the files of system-1 that are newer, a log grown, database pages written in place",
            lambda image, _: ntfs_image.make_next_day(folder / "system-1.raw", folder / "ntfs-0.raw", image),
            after="ntfs-0",
        ),
        Corpus(
            "ntfs-other",
            f"NTFS with {trees} of other, copied by its driver",
            lambda image, size: ntfs_image.make(folder / "other.raw", image, size),
        ),
    )


def _database(folder: Path) -> tuple[Corpus, Corpus, Corpus]:
    first, other = database_image.FIRST, database_image.OTHER
    return (
        Corpus("database-0", first.how, lambda image, size: database_image.make(first, image, size)),
        Corpus(
            "database-1",
            "database-0 one day later: pgbench's transactions, rows added and deleted, vacuumed",
            lambda image, _: database_image.make_next_day(folder / "database-0.raw", image),
            after="database-0",
        ),
        Corpus("database-other", other.how, lambda image, size: database_image.make(other, image, size)),
    )


def _archives(folder: Path) -> tuple[Corpus, Corpus, Corpus]:
    return (
        Corpus("archives-0", "seeded archives of gzip and zstd, and pictures", archives.make_first),
        Corpus(
            "archives-1",
            "archives-0 one day later: archives added, some replaced in place",
            lambda image, _: archives.make_next_day(folder / "archives-0.raw", image),
            after="archives-0",
        ),
        Corpus("archives-other", "half the files of archives-0 at other offsets, half its own", archives.make_other),
    )


def _synthetic(folder: Path) -> tuple[Corpus, Corpus, Corpus]:
    return (
        Corpus("synthetic-0", "seeded files of text, database pages and packed data", synthetic.make_first),
        Corpus(
            "synthetic-1",
            "synthetic-0 one day later: pages rewritten, one run zeroed, files added",
            lambda image, _: synthetic.make_next_day(folder / "synthetic-0.raw", image),
            after="synthetic-0",
        ),
        Corpus("synthetic-other", "half the files of synthetic-0 at other offsets, half its own", synthetic.make_other),
    )


FAMILIES = (
    Family("ext4", 1, _ext4, ("debootstrap", "unshare", "mke2fs")),
    Family("ntfs", 0.5, _ntfs, ("debootstrap", "unshare", "mkntfs", "ntfs-3g")),
    Family("database", 0.375, _database, ("mke2fs", "runuser", "pg_config")),
    Family("archives", 0.375, _archives, needs_root=False),
    Family("synthetic", 0.5, _synthetic, needs_root=False),
)
BY_NAME = {family.name: family for family in FAMILIES}
