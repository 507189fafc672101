"""A daemon's command line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.faults import Fault
from runtime.main import run
from runtime.settings import Secret


@dataclass(frozen=True)
class Settings:
    name: str
    password: Secret | None = None


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "x.toml"
    path.write_text('name = "a"\npassword = "/etc/secret"\n')
    return path


def test_it_serves_with_the_settings_of_the_file(config: Path) -> None:
    served: list[Settings] = []
    assert run("x", Settings, served.append, ["--config", str(config)]) == 0
    assert served == [Settings("a", Secret("/etc/secret"))]


def test_check_shows_the_settings_and_serves_nothing(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    served: list[Settings] = []
    assert run("x", Settings, served.append, ["--config", str(config), "--check"]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "a", "password": "(secret in /etc/secret)"}
    assert served == []


def test_a_fault_is_one_line_and_an_exit_code(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Broke(Fault):
        """Something."""

        code = "test.broke"

    del Fault.registry["test.broke"]

    def break_(_: Settings) -> None:
        raise Broke("it broke")

    assert run("x", Settings, break_, ["--config", str(config)]) == 1
    assert run("x", Settings, break_, ["--config", str(config) + "-not"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == "x: it broke [test.broke]"
    assert second.endswith("[runtime.settings_invalid]")
