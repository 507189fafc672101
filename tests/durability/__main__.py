"""`python -m tests.durability` makes docs/durability.md anew."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.durability.page import PAGE, page

_IN_MEMORY = Path("/dev/shm")


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory, in memory where there is such a place: hundreds of repositories are made in it."""
    where = _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="ingot-durability-", dir=where) as directory:
        yield Path(directory)


if __name__ == "__main__":
    with scratch() as made_in:
        PAGE.write_text(page(made_in))
