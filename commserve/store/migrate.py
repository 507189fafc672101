"""Brings a database to this build's tables, forward only."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from commserve.faults import DatabaseTooNew
from commserve.store.engine import Store

MIGRATIONS = Path(__file__).with_name("migrations")


def bring_up(store: Store) -> None:
    """Run the migrations that are missing, in one transaction. May be called again. Raises DatabaseTooNew."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    with store.writing() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
        if found is not None and found not in {script.revision for script in scripts.walk_revisions()}:
            raise DatabaseTooNew(
                f"{_place(connection)}: migrated to {found}; this build knows {scripts.get_current_head()}"
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _place(connection: sa.Connection) -> str:
    return connection.engine.url.render_as_string(hide_password=True)
