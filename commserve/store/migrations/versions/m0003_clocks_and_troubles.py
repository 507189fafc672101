"""What agents say of themselves with every heartbeat."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("agents", sa.Column("clock_ahead_ms", sa.BigInteger(), nullable=True))
    op.add_column("agents", sa.Column("troubles", sa.JSON(), server_default="[]", nullable=False))
