"""Operating-system disks: a real distribution installed into a folder, and the folder made an ext4 image.

What is installed into the folder runs in its own mount and process namespace: its /proc and whatever it
leaves running vanish with that namespace, however the installation ends. Needs root and the programs
`debootstrap`, `unshare` and `mke2fs`. The files come from the distribution's archive of the day, so two
makings a month apart differ in package versions; everything else is fixed (file-system id, hash seed, time).
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import content
from bench.run import CorpusError, run, say

RELEASE = "bookworm"
MADE_AT = "1767225600"  # 2026-01-01: the one time all made file systems believe it is
DATABASE = "var/lib/app/accounts.db"
DATABASE_PAGE_COUNT = 12_288  # 96 MiB
LOG = "var/log/app/requests.log"
LOG_BYTES = 48 << 20

# Without apt's own index cache, 80 MB rewritten by every update: it would be most of what a day changes.
APT = ("apt-get", "-y", "-q", "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=")
_NAMESPACE = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
_COMMON = ("linux-image-amd64", "build-essential", "python3", "git", "vim", "perl", "curl", "rsync", "locales")


@dataclass(frozen=True)
class System:
    """One machine: what is installed on it, in which order, and the identity of its file system."""

    name: str
    uuid: str
    seed: int
    installed: tuple[tuple[str, ...], ...]  # one package manager call each, in order


FIRST = System(
    name="system-0",
    uuid="5f0f8cbd-52f7-4a2c-9a57-0f6b6a1f3c01",
    seed=1,
    installed=(
        (*_COMMON, "openssh-server", "nginx", "postgresql", "openjdk-17-jre-headless"),
        ("python3-numpy", "php-cli", "redis-server", "nodejs"),
        ("fonts-noto-core", "fonts-dejavu", "man-db", "manpages-dev", "perl-doc", "python3-doc", "postgresql-doc-15"),
    ),
)
OTHER = System(
    name="other",
    uuid="c2b1f2c0-9a0f-4d0e-8b35-6f1d5d2ae902",
    seed=2,
    installed=(
        ("apache2", "mariadb-server", "ruby-full", "php-cli"),
        ("fonts-liberation", "fonts-noto-cjk", "texlive-latex-base", "emacs-nox"),
        (*_COMMON[::-1], "nodejs", "samba", "tcl", "default-jre-headless"),
    ),
)


def in_system(root: Path, *command: str) -> str:
    """Run a command inside an installed system, as its root, with a /proc of its own; nothing survives it."""
    inside = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LC_ALL": "C",
        "DEBIAN_FRONTEND": "noninteractive",
        "SOURCE_DATE_EPOCH": MADE_AT,
    }
    return run((*_NAMESPACE, "sh", "-c", inside, root, *command), env=environment)


def install(root: Path, packages: Sequence[str]) -> None:
    """Install packages into a system; its services are not started."""
    refusal = root / "usr/sbin/policy-rc.d"
    refusal.write_text("#!/bin/sh\nexit 101\n")
    refusal.chmod(0o755)
    try:
        in_system(root, *APT, "install", "--no-install-recommends", *packages)
    finally:
        refusal.unlink()


def make(system: System, image: Path, size_bytes: int) -> None:
    """Install a system and write it as a sparse ext4 image of `size_bytes`; the image appears only when complete."""
    root = image.with_suffix(".root")
    part = image.with_suffix(".part")
    try:
        shutil.rmtree(root, ignore_errors=True)
        say(f"{system.name}: installing {RELEASE}")
        run((*_NAMESPACE, "debootstrap", "--variant=minbase", RELEASE, root))
        in_system(root, *APT, "update")
        for packages in system.installed:
            say(f"{system.name}: installing {' '.join(packages)}")
            install(root, packages)
        in_system(root, *APT, "clean")
        _add_application_data(root, system.seed)
        say(f"{system.name}: writing the image")
        _write_ext4(root, part, system.uuid, size_bytes)
        part.rename(image)
    finally:
        part.unlink(missing_ok=True)
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def mounted(image: Path, how: str = "rw") -> Iterator[Path]:
    """The files of an image, mounted beside it for as long as the `with` block runs."""
    at = image.with_suffix(".mounted")
    at.mkdir(exist_ok=True)
    try:
        run(("mount", "-o", f"loop,{how}", image, at))
        try:
            yield at
        finally:
            run(("umount", at))
    finally:
        at.rmdir()


def _add_application_data(root: Path, seed: int) -> None:
    """What a machine has besides packages: a database file and a log."""
    rng = np.random.default_rng(seed)
    database, log = root / DATABASE, root / LOG
    database.parent.mkdir(parents=True)
    database.write_bytes(content.pages(rng, DATABASE_PAGE_COUNT))
    log.parent.mkdir(parents=True)
    log.write_bytes(content.text(rng, LOG_BYTES))


def _write_ext4(root: Path, image: Path, uuid: str, size_bytes: int) -> None:
    image.unlink(missing_ok=True)
    with image.open("wb") as file:
        file.truncate(size_bytes)
    options = f"hash_seed={uuid},root_owner=0:0"
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "E2FSPROGS_FAKE_TIME": MADE_AT,
        "SOURCE_DATE_EPOCH": MADE_AT,
    }
    try:
        run(("mke2fs", "-q", "-t", "ext4", "-U", uuid, "-E", options, "-d", root, image), env=environment)
    except CorpusError as failed:
        raise CorpusError(f"{image.name}: no file system of {size_bytes} bytes: {failed}") from failed
