"""Running commands as a person does: in this process for speed, or as a process of their own."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ingot.__main__ import main

ROOT = Path(__file__).parents[2]


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout."""
        return json.loads(self.out)


class FrontDoor:
    """Commands on one repository, with a key file and an index below one directory."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self.repository = directory / "repository"
        self.key = directory / "key"
        self._capsys = capsys

    def run(self, *arguments: str | Path) -> Ran:
        """Run a command in this process."""
        self._capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Ran(code, *self._capsys.readouterr())

    def good(self, *arguments: str | Path) -> Ran:
        """The same, expected to be good."""
        ran = self.run(*arguments)
        assert ran.code == 0, ran
        return ran

    def document(self, *arguments: str | Path) -> Any:
        """The JSON of a command that is good."""
        return self.good(*arguments, "--json").json

    def image(self, name: str = "web1.raw", size: int = 3_000_000, seed: int = 0) -> Path:
        """A disk image: noise, with a hole in the middle of a size that allows it."""
        path = self.directory / name
        chance = random.Random(seed)
        with path.open("wb") as file:
            file.write(chance.randbytes(size // 3))
            file.seek(size - size // 3)
            file.write(chance.randbytes(size // 3))
        return path

    def containers(self) -> list[Path]:
        """The containers in the repository, oldest first."""
        return sorted(path for path in (self.repository / "c").rglob("*") if path.is_file())


def environment(directory: Path) -> dict[str, str]:
    """Variables for a process that uses the repository and key of `directory`."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("INGOT_")},
        "PYTHONPATH": str(ROOT),
        "XDG_STATE_HOME": str(directory / "state"),
        "INGOT_REPOSITORY": str(directory / "repository"),
        "INGOT_KEY_FILE": str(directory / "key"),
    }


def start(directory: Path, arguments: Sequence[str | Path], *, program: Sequence[str] = ("-m", "ingot")) -> Any:
    """Start a command as a process of its own, without a terminal."""
    return subprocess.Popen(
        [sys.executable, *program, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(directory),
        cwd=directory,
        text=True,
    )


def finish(process: Any) -> Ran:
    """Wait for it."""
    out, err = process.communicate(timeout=60)
    return Ran(process.returncode, out, err)
