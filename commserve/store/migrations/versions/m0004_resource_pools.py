"""A machine says its resource pool, and what it is called where it went on under another id."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("machines", sa.Column("resource_pool", sa.Text(), server_default="", nullable=False))
    op.add_column("machines", sa.Column("seen_as", sa.Text(), server_default="", nullable=False))
