"""The database: migrations make the tables that the code knows; readers and writers do not trip over each other."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from commserve.faults import DatabaseTooNew, InUse, NameTaken
from commserve.store.engine import open_store
from commserve.store.inserting import insert_new, put
from commserve.store.migrate import MIGRATIONS, bring_up
from commserve.store.tables import answers, counters, hypervisors, jobs, metadata, plans, pools, rules, users
from tests.commserve.office import START, open_migrated


def test_migrations_make_the_tables_that_the_code_knows(tmp_path: Path) -> None:
    store = open_migrated(tmp_path)
    with store.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    store.close()


def test_migrations_make_what_reflection_cannot_compare(tmp_path: Path) -> None:
    """Defaults and the conditions of indexes, as SQL."""
    migrated = open_migrated(tmp_path)
    made = open_store(tmp_path / "made.db")
    with made.writing() as connection:
        metadata.create_all(connection)

    def shape(store: object) -> set[tuple[object, ...]]:
        with store.reading() as connection:  # type: ignore[attr-defined]
            tables = [table.name for table in metadata.sorted_tables]
            columns = {
                (name, *row[1:5]) for name in tables for row in connection.exec_driver_sql(f"PRAGMA table_info({name})")
            }
            indexes = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE type = 'index' AND sql > ''")
            return columns | {(" ".join(row[0].split()),) for row in indexes}

    assert shape(migrated) == shape(made)
    migrated.close()
    made.close()


def test_bringing_up_twice_changes_nothing_and_keeps_what_is_there(tmp_path: Path) -> None:
    store = open_migrated(tmp_path)
    with store.writing() as connection:
        connection.execute(sa.insert(counters).values(name="kept", value=7))
    bring_up(store)
    with store.reading() as connection:
        assert connection.execute(sa.select(counters.c.value)).scalar_one() == 7
    store.close()


def versions() -> ScriptDirectory:
    return ScriptDirectory(str(MIGRATIONS))


@pytest.mark.parametrize("revision", sorted(s.revision for s in versions().walk_revisions() if not s.is_head))
def test_a_database_of_every_version_before_becomes_one_of_now_with_what_it_holds(
    tmp_path: Path, revision: str
) -> None:
    store = open_store(tmp_path / "commserve.db")
    config = Config()
    config.set_main_option("script_location", versions().dir)
    times = ("created_at", "not_before_at", "deadline_at", "queued_at")
    job = {"id": "j", "kind": "discover", "subject": "s", "hypervisor_id": "h", **dict.fromkeys(times, 1)}
    with store.writing() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        for table, row in (
            ("hypervisors", {"id": "h", "name": "lab", "settings": '{"directory": "/x"}', "created_at": 1}),
            ("jobs", job),
            ("answers", {"user_id": "u", "key": "k", "request_hash": "abc", "status": 201, "created_at": 1}),
        ):
            columns = [sa.column(name) for name in row]
            connection.execute(sa.insert(sa.table(table, *columns)).values(**row))
    bring_up(store)
    with store.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        job = connection.execute(sa.select(jobs)).one()
        assert (job.id, job.kind, job.hypervisor_id, job.state, job.attempts_allowed) == (
            "j",
            "discover",
            "h",
            "QUEUED",
            3,
        )
        assert connection.execute(sa.select(hypervisors.c.settings)).scalar_one() == {"directory": "/x"}
        kept = connection.execute(sa.select(answers.c.key, answers.c.request_hash)).one()
        hashed_before = "abc" if revision >= "0005" else ""
        assert tuple(kept) == ("k", hashed_before), "the key still counts, and what a body hashed to before is gone"
    store.close()


def test_a_savepoint_is_undone_alone(tmp_path: Path) -> None:
    """The driver begins nothing by itself, so that savepoints are ours as well."""
    store = open_migrated(tmp_path)
    with store.writing() as connection:
        connection.execute(sa.insert(counters).values(name="before", value=1))
        with connection.begin_nested():
            connection.execute(sa.insert(counters).values(name="inside", value=1))
        for bad in ("before", None):
            rows = [{"name": "undone", "value": 1}, {"name": bad, "value": 2}]
            with pytest.raises(sa.exc.IntegrityError), connection.begin_nested():
                connection.execute(sa.insert(counters), rows)
        connection.execute(sa.insert(counters).values(name="after", value=1))
    with store.reading() as connection:
        assert set(connection.execute(sa.select(counters.c.name)).scalars()) == {"before", "inside", "after"}
    store.close()


def test_a_database_of_a_later_version_is_refused(tmp_path: Path) -> None:
    store = open_migrated(tmp_path)
    with store.writing() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseTooNew, match="9999"):
        bring_up(store)
    store.close()


def test_nobody_else_reads_the_file(tmp_path: Path) -> None:
    store = open_migrated(tmp_path)
    store.close()
    assert stat.S_IMODE((tmp_path / "commserve.db").stat().st_mode) == 0o600


def test_a_reader_sees_one_state_while_others_write(tmp_path: Path) -> None:
    store = open_migrated(tmp_path)
    with store.writing() as connection:
        connection.execute(sa.insert(counters).values(name="n", value=1))
    with store.reading() as reader:
        assert reader.execute(sa.select(counters.c.value)).scalar_one() == 1
        with store.writing() as writer:
            writer.execute(sa.update(counters).values(value=2))
        assert reader.execute(sa.select(counters.c.value)).scalar_one() == 1
    store.close()


def test_threads_that_read_and_then_write_lose_no_update(tmp_path: Path) -> None:
    store = open_migrated(tmp_path)
    with store.writing() as connection:
        connection.execute(sa.insert(counters).values(name="n", value=0))

    def count() -> None:
        for _ in range(25):
            with store.writing() as connection:
                value = connection.execute(sa.select(counters.c.value)).scalar_one()
                connection.execute(sa.update(counters).values(value=value + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.reading() as connection:
        assert connection.execute(sa.select(counters.c.value)).scalar_one() == 100
    store.close()


def test_two_processes_that_write_wait_for_each_other(tmp_path: Path) -> None:
    """Two stores on one file share no lock of this process: what waits is the database."""
    first, second = open_migrated(tmp_path), open_store(tmp_path / "commserve.db")
    inside, finished = threading.Event(), threading.Event()

    def write() -> None:
        with first.writing() as connection:
            connection.execute(sa.insert(counters).values(name="first", value=1))
            inside.set()
            finished.wait(0.2)

    thread = threading.Thread(target=write)
    thread.start()
    inside.wait()
    with second.writing() as connection:
        assert connection.execute(sa.select(counters.c.name)).scalars().all() == ["first"]
    thread.join()
    first.close()
    second.close()


def test_a_taken_name_and_a_thing_in_use_have_names(tmp_path: Path) -> None:
    store = open_migrated(tmp_path)
    row = {"id": "1", "name": "gold", "created_at": START}
    with store.writing() as connection:
        connection.execute(sa.insert(plans).values(**row))
        connection.execute(sa.insert(rules).values(id="r", name="all", plan_id="1", created_at=START))
    with pytest.raises(NameTaken, match=r"plans\.name"), store.writing() as connection:
        connection.execute(sa.insert(plans).values(**row | {"id": "2"}))
    with pytest.raises(InUse), store.writing() as connection:
        connection.execute(sa.delete(plans))
    store.close()


def test_one_subject_has_one_active_job_and_any_number_that_ended(tmp_path: Path) -> None:
    store = open_migrated(tmp_path)
    times = dict.fromkeys(("created_at", "not_before_at", "deadline_at", "queued_at"), START)

    def row(key: str, state: str) -> dict[str, object]:
        return {"id": key, "subject": "machine:1", "state": state, **times}

    with store.writing() as connection:
        rows = [row("1", "DONE"), row("2", "QUEUED"), row("3", "RUNNING"), row("4", "FAILED")]
        assert insert_new(connection, jobs, rows) == ["1", "2", "4"]
    store.close()


def test_putting_a_row_again_overwrites_it(tmp_path: Path) -> None:
    store = open_migrated(tmp_path)
    with store.writing() as connection:
        put(connection, pools, {"id": "1", "name": "a", "created_at": START})
        put(connection, pools, {"id": "1", "name": "b", "created_at": START})
        assert connection.execute(sa.select(pools.c.name)).scalars().all() == ["b"]
        assert connection.execute(sa.select(users)).all() == []
    store.close()
