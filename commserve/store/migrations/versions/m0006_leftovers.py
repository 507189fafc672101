"""A machine says where it runs and lies, and what work left at it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("machines", sa.Column("host", sa.Text(), server_default="", nullable=False))
    op.add_column("machines", sa.Column("datastores", sa.JSON(), server_default="[]", nullable=False))
    op.add_column("machines", sa.Column("leftovers", sa.JSON(), server_default="{}", nullable=False))
