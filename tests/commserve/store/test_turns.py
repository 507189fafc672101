"""Writers take turns, in whatever threads their transactions begin and end."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import sqlalchemy as sa

from commserve.store.engine import open_store


def test_a_transaction_that_ends_in_another_thread_than_it_began_in_gives_its_turn_back(tmp_path: Path) -> None:
    store = open_store(tmp_path / "commserve.db")
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        writing = store.writing()
        connection = one.submit(writing.__enter__).result()
        connection.execute(sa.text("CREATE TABLE t (x)"))
        other.submit(writing.__exit__, None, None, None).result()
        with store.writing() as after:
            after.execute(sa.text("INSERT INTO t VALUES (1)"))
    store.close()
