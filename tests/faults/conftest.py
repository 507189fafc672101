"""Fault tests lie in memory where there is such a place: no power is lost here, and an index syncs a lot."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_IN_MEMORY = Path("/dev/shm")  # half the time of the same tests on a disk


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """As pytest's, removed when the test is over."""
    if not os.access(_IN_MEMORY, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="ingot-faults-", dir=_IN_MEMORY) as directory:
        yield Path(directory)
