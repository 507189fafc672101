"""Where passphrases and keys come from, and where they never go."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path

import pytest

from tests.ingot.front_door import FrontDoor

PASSPHRASE = "nine bean rows will I have there"


class _Terminal:
    """A terminal on which somebody types these lines."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
        self._lines = list(lines)
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(getpass, "getpass", self._type)

    def _type(self, _prompt: str) -> str:
        if not self._lines:
            raise EOFError
        return self._lines.pop(0)


def test_without_a_terminal_and_without_a_file_the_ways_are_named(
    made: FrontDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INGOT_KEY_FILE")
    said = made.run("list", "--json")
    assert said.code == 2
    assert said.json["error"]["code"] == "ingot.secret_needed"
    for way in ("--passphrase-file", "INGOT_PASSPHRASE_FILE", "terminal", "--key-file"):
        assert way in said.json["error"]["message"]


def test_a_passphrase_is_typed_twice_at_init_once_afterwards_and_lies_nowhere(
    door: FrontDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INGOT_KEY_FILE")
    _Terminal(monkeypatch, PASSPHRASE, PASSPHRASE)
    said = [door.good("init")]
    _Terminal(monkeypatch, PASSPHRASE)
    said.append(door.good("backup", door.image(), "--json"))
    door.directory.joinpath("passphrase").write_text(PASSPHRASE + "\n")
    monkeypatch.setenv("INGOT_PASSPHRASE_FILE", "passphrase")
    said.append(door.good("list"))
    assert "chmod 600 passphrase" in said[-1].err
    assert all(PASSPHRASE not in each.out + each.err for each in said)
    for path in [*door.repository.rglob("*"), *(door.directory / "state").rglob("*")]:
        assert not path.is_file() or PASSPHRASE.encode() not in path.read_bytes()


def test_a_passphrase_typed_differently_or_not_at_all_makes_nothing(
    door: FrontDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INGOT_KEY_FILE")
    _Terminal(monkeypatch, PASSPHRASE, PASSPHRASE + ".")
    assert "two different ones" in door.run("init").err
    _Terminal(monkeypatch)
    assert door.run("init").code == 2
    _Terminal(monkeypatch, "", "")
    assert "empty" in door.run("init").err
    assert not door.repository.exists()


def test_a_second_init_is_refused_before_anybody_types(made: FrontDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INGOT_KEY_FILE")
    _Terminal(monkeypatch)
    said = made.run("init")
    assert said.code == 2
    assert "a repository is there already" in said.err


def test_an_option_goes_before_the_environment_and_two_of_a_kind_are_refused(made: FrontDoor) -> None:
    assert made.run("list", "--key-file", "nowhere").code == 2
    both = made.run("list", "--key-file", made.key, "--passphrase-file", made.key)
    assert both.code == 2
    assert "expected one secret" in both.err
    assert made.run("init", "--no-encryption", "--key-file", "k", "--repository", "other").code == 2


def test_a_secret_that_others_may_read_is_noted_also_in_json(made: FrontDoor) -> None:
    made.key.chmod(0o644)
    assert f"chmod 600 {made.key}" in made.good("list").err
    document = made.document("verify")
    assert len(document["notes"]) == 1
    failed = made.run("show", "1", "--json")
    assert len(failed.json["notes"]) == 1


def test_a_passphrase_file_must_be_text(made: FrontDoor) -> None:
    Path("binary").write_bytes(b"\xff\xfe")
    said = made.run("list", "--passphrase-file", "binary")
    assert said.code == 2
    assert "UTF-8" in said.err
