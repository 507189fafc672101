"""Ingot beside the peers: the same verbs, through its command line as a user has it."""

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measure import Usage, measure
from bench.peers import PASSWORD

PROGRAM = Path(sys.executable).with_name("ingot")
MACHINE = "machine"


@dataclass(frozen=True)
class Ingot:
    """Encrypted, zstd level 1, no change tracking unless a backup is given changed extents."""

    program: Path = PROGRAM
    level: int = 1
    subject: str = "ingot"

    def version(self) -> str:
        """The version it says it is, one line."""
        with tempfile.NamedTemporaryFile("r") as printed:
            measure((self.program, "--version"), stdout=Path(printed.name))
            return printed.read().strip()

    def init(self, repo: Path) -> None:
        """Create the repository `repo`."""
        _beside(repo).mkdir(parents=True)
        secret = _beside(repo) / "passphrase"
        secret.touch(mode=0o600)
        secret.write_text(PASSWORD)
        measure((self.program, "init", *self._place(repo)))

    def backup(self, image: Path, repo: Path, name: str) -> Usage:
        """Back up one image; `name` names the recovery point for `restore`. Its parent is the one before."""
        usage, _ = self.backup_told(image, repo, name)
        return usage

    def backup_told(self, image: Path, repo: Path, name: str, *more: str | Path) -> tuple[Usage, dict[str, Any]]:
        """The same, with further options, and what the backup said of itself."""
        told = _beside(repo) / "told.json"
        told.unlink(missing_ok=True)
        index = ("--index", _beside(repo) / "index")
        how = ("--machine", MACHINE, "--level", str(self.level), *index, "--json", *more)
        usage = measure((self.program, "backup", image, *self._place(repo), *how), stdout=told)
        result: dict[str, Any] = json.loads(told.read_text())
        (_beside(repo) / f"{name}.point").write_text(result["recovery_point"])
        return usage, result

    def restore(self, name: str, repo: Path, to: Path) -> Usage:
        """Write the disk of backup `name` into the existing folder `to`."""
        point = self.point(repo, name)
        return measure((self.program, "restore", point, "--to", to / "disk.raw", *self._place(repo)))

    def mount_command(self, repo: Path, socket: Path) -> list[str | Path]:
        """What serves the newest recovery point at `socket`."""
        return [self.program, "mount", "latest", "--json", "--socket", socket, *self._place(repo)]

    def rebuild(self, repo: Path) -> Usage:
        """Drop the index and make it again from the repository."""
        return measure((self.program, "rebuild", "--index", _beside(repo) / "index", *self._place(repo)))

    def point(self, repo: Path, name: str) -> str:
        """The recovery point that backup `name` made."""
        return (_beside(repo) / f"{name}.point").read_text()

    def _place(self, repo: Path) -> tuple[str | Path, ...]:
        return "--repository", repo.absolute(), "--passphrase-file", _beside(repo) / "passphrase"


def _beside(repo: Path) -> Path:
    return repo.absolute().with_name(repo.name + ".client")
