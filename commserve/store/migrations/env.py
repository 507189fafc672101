"""How alembic runs here: on the connection that `migrate.bring_up` hands over, inside its transaction."""

from __future__ import annotations

from alembic import context

from commserve.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite changes a table by making it anew
    transaction_per_migration=False,
)
context.run_migrations()
