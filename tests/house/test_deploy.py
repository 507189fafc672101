"""What is in deploy/ fits the services."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "deploy/systemd").glob("*.service"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_starts_a_service_that_is_there_and_locks_it_in(unit: Path) -> None:
    text = unit.read_text()
    service = unit.stem.removeprefix("ingot-")
    assert f"ExecStart=/opt/ingot/bin/python -m {service} --config /etc/ingot/{service}.toml" in text
    assert (ROOT / service / "__main__.py").exists()
    for line in ("Type=notify", "WatchdogSec=60", "NoNewPrivileges=true", "ProtectSystem=strict", "UMask=0077"):
        assert line in text.splitlines()


def test_there_is_a_unit_for_each_service() -> None:
    assert [unit.stem for unit in UNITS] == ["ingot-commserve", "ingot-mediaagent", "ingot-vsa"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_understands_the_units() -> None:
    done = subprocess.run(["systemd-analyze", "verify", *UNITS], capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if "/opt/ingot/bin/python" not in line]
    assert complaints == []
