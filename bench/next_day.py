"""A system image one day later: logs grew, packages came and went, a database was written, files were deleted.

The image is mounted and changed by the real file system, so allocation, journal and metadata change as they do
on a running machine. Security updates are those the distribution's archive offers on the day this runs.
"""

import shutil
from pathlib import Path

import numpy as np

from bench import content
from bench.changes import copy_sparse
from bench.run import say
from bench.system_image import APT, DATABASE, DATABASE_PAGE_COUNT, LOG, in_system, install, mounted

LOG_GROWTH_BYTES = 12 << 20
DATABASE_RUN_COUNT, DATABASE_RUN_PAGE_COUNT = 64, 8  # written pages lie together, as keys in use do
HOME = "home/app"
PICTURE_BYTES = 3 << 20
INSTALLED = ("tcpdump", "htop", "sqlite3", "tmux")
UPGRADED = ("openssl", "libssl3", "nginx", "git", "curl")
DELETED = ("usr/share/doc/libc6", "usr/share/perl/5.36.0/pod", "usr/share/fonts/truetype/dejavu")


def make(before: Path, after: Path, seed: int = 3) -> None:
    """Write `after`: the system of `before` one day later. It appears only when complete."""
    part = after.with_suffix(".part")
    try:
        copy_sparse(before, part)
        with mounted(part) as root:
            say("one day: packages")
            _update_packages(root)
            say("one day: files")
            use(root, np.random.default_rng(seed))
        part.rename(after)
    finally:
        part.unlink(missing_ok=True)


def _update_packages(root: Path) -> None:
    """Upgrade what has security updates, install a few more; downloads stay in the cache, as they do."""
    sources = root / "etc/apt/sources.list"
    main = sources.read_text().split("\n", 1)[0]
    kind, archive, release, *_ = main.split()
    security = f"{kind} {archive.rstrip('/')}-security {release}-security main"
    sources.write_text(f"{main}\n{security}\n")
    in_system(root, *APT, "update")
    install(root, ("--only-upgrade", *UPGRADED))
    install(root, INSTALLED)


def use(root: Path, rng: np.random.Generator) -> None:
    """A day of use: the log grows and is rotated, database pages are written in place, files come and go."""
    log = root / LOG
    rotated = log.with_name(log.name + ".1")
    log.rename(rotated)
    log.write_bytes(content.text(rng, LOG_GROWTH_BYTES))
    with (root / DATABASE).open("r+b") as database:
        runs = rng.integers(0, DATABASE_PAGE_COUNT - DATABASE_RUN_PAGE_COUNT, DATABASE_RUN_COUNT)
        for page in np.sort(runs).tolist():
            database.seek(page * content.PAGE_BYTES)
            database.write(content.pages(rng, DATABASE_RUN_PAGE_COUNT))
        database.seek(0, 2)
        database.write(content.pages(rng, 256))
    home = root / HOME
    home.mkdir(parents=True, exist_ok=True)
    for number in range(4):
        (home / f"picture-{number}.jpg").write_bytes(content.packed(rng, PICTURE_BYTES))
    for folder in DELETED:
        shutil.rmtree(root / folder, ignore_errors=True)
