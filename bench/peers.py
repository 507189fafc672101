"""The products we are compared with, each used the way its own manual tells a user to.

Encrypted where the product can, compressed at its default or at the level its class names, repository on a local
disk. Caches and keys live in folders beside the repository, so that two runs share nothing; passwords are set in
the environment of the child alone. `backup` reads the whole image unless the peer was made with `reread=False`,
when it may skip a file whose time and size are unchanged.

A repository is a folder that does not exist before `init`. A backup has a `name`, unique in its repository.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.measure import Usage, measure
from bench.run import run

OWN_PEERS = Path("/opt/peers")  # where versions newer than the distribution's are looked for first
PASSWORD = "correct horse battery staple"


class Peer(Protocol):
    """A backup product. Every verb runs to its end and raises `ProgramError` if it failed."""

    @property
    def subject(self) -> str:
        """What the rows call it: product and what is special about how it is used."""

    def version(self) -> str:
        """The version it says it is, one line."""

    def init(self, repo: Path) -> None:
        """Create the repository `repo`."""

    def backup(self, image: Path, repo: Path, name: str) -> Usage:
        """Back up one file as `name`."""

    def restore(self, name: str, repo: Path, to: Path) -> Usage:
        """Write the file of backup `name` into the existing folder `to`, under the name it had."""


@dataclass(frozen=True)
class Restic:
    """restic, compression auto as it is by default."""

    program: Path
    reread: bool = True
    subject: str = "restic"

    def version(self) -> str:
        return _first_line(self.program, "version")

    def init(self, repo: Path) -> None:
        measure((self.program, "init", "-q", "-r", repo.absolute()), env=self._environment(repo))

    def backup(self, image: Path, repo: Path, name: str) -> Usage:
        how = ("--force",) if self.reread else ()
        command = (self.program, "backup", "-q", "-r", repo.absolute(), *how, "--tag", name, image.name)
        return measure(command, cwd=image.parent, env=self._environment(repo))

    def restore(self, name: str, repo: Path, to: Path) -> Usage:
        command = (self.program, "restore", "latest", "-q", "-r", repo.absolute(), "--tag", name, "--target", to)
        return measure(command, env=self._environment(repo))

    def _environment(self, repo: Path) -> Mapping[str, str]:
        return {"RESTIC_PASSWORD": PASSWORD, "RESTIC_CACHE_DIR": str(_beside(repo))}


@dataclass(frozen=True)
class Borg:
    """borg 1, repokey-blake2 and zstd level 1; `chunker` is its own `--chunker-params`, empty for the default."""

    program: Path
    chunker: str = ""
    reread: bool = True
    subject: str = "borg"

    def version(self) -> str:
        return _first_line(self.program, "--version")

    def init(self, repo: Path) -> None:
        measure((self.program, "init", "-e", "repokey-blake2", repo.absolute()), env=self._environment(repo))

    def backup(self, image: Path, repo: Path, name: str) -> Usage:
        how = ("--files-cache=disabled",) if self.reread else ()
        chunker = ("--chunker-params", self.chunker) if self.chunker else ()
        archive = f"{repo.absolute()}::{name}"
        command = (self.program, "create", "--compression", "zstd,1", *how, *chunker, archive, image.name)
        return measure(command, cwd=image.parent, env=self._environment(repo))

    def restore(self, name: str, repo: Path, to: Path) -> Usage:
        return measure((self.program, "extract", f"{repo.absolute()}::{name}"), cwd=to, env=self._environment(repo))

    def _environment(self, repo: Path) -> Mapping[str, str]:
        return {"BORG_PASSPHRASE": PASSWORD, "BORG_BASE_DIR": str(_beside(repo)), "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True)
class Casync:
    """casync, image mode: a store of zstd chunks and an index per image. It has no encryption and always reads all."""

    program: Path
    subject: str = "casync"

    def version(self) -> str:
        return _first_line(self.program, "--version")

    def init(self, repo: Path) -> None:
        (repo / "store.castr").mkdir(parents=True)

    def backup(self, image: Path, repo: Path, name: str) -> Usage:
        (repo / f"{name}.file").write_text(image.name)
        store = f"--store={repo / 'store.castr'}"
        return measure((self.program, "make", "--compression=zstd", store, repo / f"{name}.caibx", image))

    def restore(self, name: str, repo: Path, to: Path) -> Usage:
        file_name = (repo / f"{name}.file").read_text()
        store = f"--store={repo / 'store.castr'}"
        return measure((self.program, "extract", store, repo / f"{name}.caibx", to / file_name))


def found(own: Path = OWN_PEERS) -> list[Peer]:
    """The peers of this machine: `own`/NAME/bin/NAME before what is on the PATH; missing ones are left out."""
    peers: list[Peer] = []
    if restic := _program("restic", own):
        peers.append(Restic(restic))
    if borg := _program("borg", own):
        peers.append(Borg(borg))
        peers.append(Borg(borg, chunker="fixed,4194304", subject="borg, fixed 4 MiB"))
    if casync := _program("casync", own):
        peers.append(Casync(casync))
    return peers


def size_bytes(repo: Path) -> int:
    """The size of a repository: the sum of its files' sizes."""
    return sum(file.stat().st_size for file in repo.rglob("*") if file.is_file())


def remove(repo: Path) -> None:
    """Delete a repository with the caches and keys beside it; neither need exist."""
    shutil.rmtree(repo, ignore_errors=True)
    shutil.rmtree(_beside(repo), ignore_errors=True)


def _program(name: str, own: Path) -> Path | None:
    program = own / name / "bin" / name
    if program.is_file():
        return program
    on_path = shutil.which(name)
    return Path(on_path) if on_path else None


def _beside(repo: Path) -> Path:
    return repo.absolute().with_name(repo.name + ".client")


def _first_line(*command: str | Path) -> str:
    return run(command).splitlines()[0]
