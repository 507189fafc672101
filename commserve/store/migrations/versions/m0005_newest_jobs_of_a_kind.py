"""The newest job of a kind is found by whom it is of; what was kept of requests is no hash of a password any more."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_index(op.f("ix_jobs_hypervisor_id_kind_id"), "jobs", ["hypervisor_id", "kind", "id"], unique=False)
    op.create_index(op.f("ix_jobs_pool_id_kind_id"), "jobs", ["pool_id", "kind", "id"], unique=False)
    op.create_index(op.f("ix_answers_created_at"), "answers", ["created_at"], unique=False)
    op.execute("UPDATE answers SET request_hash = ''")  # their keys are refused: better than done twice
