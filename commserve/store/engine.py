"""The database: one engine, transactions that say whether they write.

On SQLite a reading transaction is `BEGIN`, a writing one `BEGIN IMMEDIATE`: a transaction that reads first and writes
later would fail with SQLITE_BUSY when somebody wrote in between. Writers of one process take turns by a lock, since
SQLite's own waiting polls. WAL, so readers never wait. `synchronous=NORMAL`: a power cut may lose the last
transactions, never tear one; every claim and report is checked against what the database says then.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection

from commserve.faults import InUse, NameTaken

_WRITES = "ingot_writes"
_BUSY_MILLISECONDS = 30_000


class Store:
    """Transactions over one database. Threads share it; a connection belongs to one transaction."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        # No RLock: a request's transaction may begin in one thread of a pool and end in another.
        self._turn = threading.Lock() if engine.dialect.name == "sqlite" else nullcontext()

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """One consistent view."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """All or nothing; durable on return (see above). Not to be nested.

        Raises NameTaken or InUse where a key refuses.
        """
        try:
            with self._turn, self.engine.connect() as connection:
                connection.execution_options(**{_WRITES: True})
                with connection.begin():
                    yield connection
        except sa.exc.IntegrityError as error:
            cause = str(error.orig).splitlines()[0]
            if "foreign key" in cause.lower():
                raise InUse("something else still refers to it") from error
            _, _, column = cause.rpartition(": ")  # `table.column`, or of several the last
            raise NameTaken(f"{column}: expected one that is not there yet") from error

    def close(self) -> None:
        self.engine.dispose()


def open_store(path: Path) -> Store:
    """The SQLite database at `path`, made when missing. Its tables come by `migrate.bring_up`."""
    path.touch(mode=0o600, exist_ok=True)
    return Store(open_engine(f"sqlite:///{path}"))


def open_engine(url: str) -> sa.Engine:
    """An engine with our settings."""
    engine = sa.create_engine(url, pool_size=20, max_overflow=200)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _on_connect)
        event.listen(engine, "begin", _on_begin)
    return engine


def _on_connect(connection: DBAPIConnection, _record: object) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself: `_on_begin` does
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", f"busy_timeout={_BUSY_MILLISECONDS}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _on_begin(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
