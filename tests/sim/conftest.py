"""A vCenter for each test, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sim.connected import connected
from tests.sim.vcenter.vcenter import Vcenter


@pytest.fixture
def vcenter(tmp_path: Path) -> Iterator[Vcenter]:
    with Vcenter(tmp_path / "vcenter") as running:
        yield running
        assert running.unexpected == []


@pytest.fixture
def service(vcenter: Vcenter) -> Iterator[Any]:
    with connected(vcenter) as instance:
        yield instance
