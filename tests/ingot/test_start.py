"""Starting is quick because nothing heavy is imported for it, and every command explains itself."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import pytest

from runtime.version import VERSION
from tests.ingot.front_door import ROOT, FrontDoor

COMMANDS = ("init", "backup", "list", "show", "restore", "verify", "rebuild", "doctor", "demo")
KEY_COMMANDS = ("add", "remove", "list", "export", "import")


def test_help_imports_nothing_heavy() -> None:
    probe = (
        "import sys; from ingot.__main__ import main; main(['--help']);"
        "print([m for m in ('numpy', 'cryptography', 'lmdb', 'zstandard', 'media', 'asyncio') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", [*COMMANDS, *(f"key {name}" for name in KEY_COMMANDS)])
def test_every_command_has_help_that_describes_every_option(door: FrontDoor, command: str) -> None:
    said = door.good(*command.split(), "--help").out
    assert "--json" in said
    if command not in ("key list",):
        assert "Example" in said


def test_the_version_is_the_projects(door: FrontDoor) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert door.good("--version").out == f"ingot {VERSION}\n"
    assert project["version"] == VERSION
