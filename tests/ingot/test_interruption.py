"""Ctrl-C, SIGTERM and closed pipes: quiet, and nothing half-visible."""

from __future__ import annotations

import filecmp
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ingot.front_door import ROOT, FrontDoor, environment, finish, start

# A command whose first piece of work sends the process a signal.
INTERRUPTED = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from contextlib import nullcontext
from ingot.__main__ import main
from ingot.cli.screen import Screen

class Interrupts:
    once = [int(os.environ["SEND"])]
    def begin(self, phase, total): pass
    def advance(self, count):
        if self.once:
            os.kill(os.getpid(), self.once.pop())

Screen.progress = lambda self: nullcontext(Interrupts())
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_backup_is_quiet_and_shows_nothing(
    made: FrontDoor, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    image = made.image(size=100 << 20)
    monkeypatch.setenv("SEND", str(int(number)))
    said = finish(start(made.directory, ["backup", image], program=("-c", INTERRUPTED)))
    assert (said.code, said.out, said.err) == (130, "", "ingot: interrupted [ingot.interrupted]\n")
    assert made.document("list") == []
    assert list((made.repository / "tmp").iterdir()) == []
    made.good("backup", image)
    made.good("verify", "--all")


def test_an_interrupted_restore_shows_no_file_and_the_same_command_goes_on(
    made: FrontDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = made.image(size=100 << 20)
    made.good("backup", image)
    Path("to").mkdir()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        monkeypatch.setenv("SEND", str(int(number)))
        said = finish(start(made.directory, ["restore", "1", "--to", "to/x", "--json"], program=("-c", INTERRUPTED)))
        assert not Path("to/x").exists()
        if number == signal.SIGKILL:
            assert said.code == -number
            continue
        assert said.code == 130
        assert said.json["error"]["code"] == "ingot.interrupted"
        assert bool(said.json["notes"]) == any(Path("to").iterdir())
    made.good("restore", "1", "--to", "to/x")
    assert filecmp.cmp("to/x", image, shallow=False)
    assert [path.name for path in Path("to").iterdir()] == ["x"]


def test_a_closed_pipe_is_no_reason_to_complain(made: FrontDoor) -> None:
    command = f"{sys.executable} -m ingot doctor --json | true; exit ${{PIPESTATUS[0]}}"
    said = subprocess.run(
        ["bash", "-c", command], env=environment(made.directory), capture_output=True, text=True, check=False
    )
    assert said.stderr == ""
    assert said.returncode in (0, 1)


def test_the_exit_code_of_the_process_is_the_commands(made: FrontDoor) -> None:
    assert finish(start(made.directory, ["list"])).code == 0
    assert finish(start(made.directory, ["show", "1"])).code == 2
    assert finish(start(made.directory, ["list", "--repository", "nowhere"])).code == 1


def test_a_fault_right_at_the_start_is_one_line_and_no_traceback(made: FrontDoor) -> None:
    """The process ends only when nothing is being imported any more."""
    said = finish(start(made.directory, ["list", "--repository", "ftp://host/path"]))
    assert said.err.startswith("ingot: ")
    assert len(said.err.splitlines()) == 1, said.err


def test_nothing_moves_on_stderr_when_it_is_no_terminal(made: FrontDoor) -> None:
    said = finish(start(made.directory, ["backup", made.image(size=80 << 20)]))
    assert said.code == 0
    assert said.err == ""
