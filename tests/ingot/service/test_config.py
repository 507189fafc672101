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


@pytest.mark.parametrize(
    ("service", "line", "said"),
    [
        ("commserve", 'http = "nonsense"', "http: expected host:port, found 'nonsense'"),
        ("commserve", 'agents_address = "store"', "agents_address: expected host:port"),
        ("commserve", "keep_jobs_days = 1", "keep_jobs_days: expected 8 or more, found 1"),
        ("commserve", 'log_level = "loud"', "log_level: expected one of debug, info, warning, error, found 'loud'"),
        ("mediaagent", 'verify = "some"', "verify: expected one of all, sample, none, found 'some'"),
        ("mediaagent", 'data = "0.0.0.0:99999"', "data: expected host:port"),
        ("mediaagent", "container_buffers = 0", "container_buffers: expected 1 or more, found 0"),
        ("vsa", "slots = 0", "slots: expected 1 or more, found 0"),
        ("vsa", "drain_seconds = -1", "drain_seconds: expected 0 or more, found -1"),
        ("vsa", "metrics = {port = 70000}", "metrics.port: expected 0 to 65535, found 70000"),
    ],
)
def test_what_a_service_would_not_take_is_not_good(door: FrontDoor, service: str, line: str, said: str) -> None:
    Path(f"{service}.toml").write_text(f'state = "/s"\n{line}\n')
    found = door.run("config", "check", f"{service}.toml")
    assert (found.code, f"{service}.toml: {said}" in found.err) == (2, True), found


def test_a_file_of_certificates_that_is_none_is_named(door: FrontDoor) -> None:
    Path("token").touch(0o600)
    Path("empty.pem").touch()
    for authority in ("empty.pem", "missing.pem"):
        asked = ("--commserve", "https://127.0.0.1:1", "--token-file", "token", "--authority", authority)
        found = door.run("agent", "list", *asked)
        assert (found.code, f"{authority}: expected a file of certificates" in found.err) == (2, True), found
