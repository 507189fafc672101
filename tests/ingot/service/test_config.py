"""Settings files are read as their services read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ingot.front_door import FrontDoor


@pytest.mark.parametrize("service", ["commserve", "mediaagent", "vsa"])
def test_a_good_file_is_good_and_shown_with_what_it_leaves_out(door: FrontDoor, service: str) -> None:
    Path(f"{service}.toml").write_text('state = "/var/lib/ingot"\n')
    assert "good" in door.good("config", "check", f"{service}.toml").out
    shown = door.good("config", "show", f"{service}.toml").out.splitlines()
    assert "state = /var/lib/ingot" in shown
    assert "metrics.host = 127.0.0.1" in shown


def test_a_wrong_setting_is_named_with_its_file(door: FrontDoor) -> None:
    Path("x.toml").write_text('state = "/s"\nslot = 3\n')
    said = door.run("config", "check", "x.toml", "--service", "vsa")
    assert said.code == 2
    assert "x.toml: slot: no such setting; there are" in said.err
    assert "expected commserve.toml" in door.run("config", "check", "x.toml").err
