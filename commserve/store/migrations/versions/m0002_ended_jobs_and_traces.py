"""Ended jobs are found by when they ended, and a job says which trace it belongs to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("trace", sa.Text(), server_default="", nullable=False))
    op.create_index(op.f("ix_jobs_ended_at"), "jobs", ["ended_at"], unique=False)
    op.create_index(op.f("ix_runs_ended_at"), "runs", ["ended_at"], unique=False)
