"""docs/durability.md says what the program does."""

from __future__ import annotations

from tests.durability.__main__ import scratch
from tests.durability.page import PAGE, page


def test_the_page_of_faults_and_calls_is_what_running_them_shows() -> None:
    with scratch() as directory:
        assert page(directory) == PAGE.read_text(), "`python -m tests.durability` makes it anew; read what changed"
