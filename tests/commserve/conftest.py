"""Property tests here have no deadline of their own: the machine may be busy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.commserve.office import Office

settings.register_profile("commserve", deadline=None, derandomize=True, database=None)
settings.load_profile("commserve")


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path)
    yield made
    made.close()
