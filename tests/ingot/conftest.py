"""A front door of its own for each test."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ingot.front_door import FrontDoor


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[FrontDoor]:
    """Nothing is there yet; the environment names where it shall be."""
    door = FrontDoor(tmp_path, capsys)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("INGOT_REPOSITORY", str(door.repository))
    monkeypatch.setenv("INGOT_KEY_FILE", str(door.key))
    monkeypatch.delenv("INGOT_PASSPHRASE_FILE", raising=False)
    before = signal.getsignal(signal.SIGTERM)
    yield door
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def made(door: FrontDoor) -> FrontDoor:
    """A repository is there, encrypted to a key file."""
    door.good("init")
    return door
