"""Rules of the house that nobody should have to remember."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.faults import Fault
from tests.house.stubs import make_stubs

ROOT = Path(__file__).parents[2]
_CLOCKS = ("time", "asyncio", "anyio", "trio", "gevent")
ROOMS = ("ext", "runtime", "proto", "media", "mediaagent", "vsa", "commserve", "ingot")


def modules() -> list[Path]:
    """Every module of the product."""
    return sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py") if "_pb2" not in path.name)


def test_arrows_between_rooms_point_down() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_is_loaded_from_this_project(room: str) -> None:
    found = importlib.import_module(room).__file__
    assert found is not None
    assert Path(found).is_relative_to(ROOT)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_begins_with_a_docstring(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), path


def _import_everything() -> None:
    for room in ROOMS:
        for found in pkgutil.walk_packages(importlib.import_module(room).__path__, f"{room}."):
            if not found.name.endswith("__main__"):
                importlib.import_module(found.name)


def _codes(text: str) -> list[str]:
    return re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \|", text, re.MULTILINE)


def test_the_page_of_faults_lists_every_fault_and_no_other() -> None:
    _import_everything()
    ours = {code for code, fault in Fault.registry.items() if fault.__module__.partition(".")[0] in ROOMS}
    page, _, of_recovery = (ROOT / "docs" / "faults.md").read_text().partition("## The recovery program")
    assert sorted(_codes(page)) == sorted(ours)
    from media import recover

    assert sorted(_codes(of_recovery)) == sorted({f.code for f in (recover.Fault, *recover.Fault.__subclasses__())})


def test_every_fault_says_what_it_means() -> None:
    _import_everything()
    for code, fault in Fault.registry.items():
        assert fault.__doc__, code


def sleeps(text: str) -> list[int]:
    """The lines of a module that wait for time to pass, instead of for what they want."""
    found = []
    for node in ast.walk(ast.parse(text)):
        of = node.func if isinstance(node, ast.Call) else None
        if isinstance(of, ast.Attribute) and of.attr == "sleep" and isinstance(of.value, ast.Name):
            found += [node.lineno] if of.value.id in _CLOCKS else []
        if isinstance(node, ast.ImportFrom) and node.module in _CLOCKS:
            found += [node.lineno] if any(name.name == "sleep" for name in node.names) else []
    return found


def test_no_test_sleeps() -> None:
    paths = sorted((ROOT / "tests").rglob("*.py"))
    assert len(paths) > 200
    assert {str(path.relative_to(ROOT)): found for path in paths if (found := sleeps(path.read_text()))} == {}


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("import time\ntime.sleep(1)", [2]),
        ("from time import monotonic, sleep", [1]),
        ("async def a():\n    await asyncio.sleep(0)", [2]),
        ("from anyio import sleep as rest", [1]),
        ("clock.sleep(1)\nevent.wait(1)\nfrom time import monotonic", []),
    ],
)
def test_sleeping_is_seen(text: str, lines: list[int]) -> None:
    assert sleeps(text) == lines


def test_the_stubs_are_what_the_contracts_say(tmp_path: Path) -> None:
    make_stubs(tmp_path)
    ours = {path.name: path.read_text() for path in (ROOT / "proto").glob("*_pb2*")}
    assert ours == {path.name: path.read_text() for path in (tmp_path / "proto").iterdir()}
