"""Jobs know their source and priority; collections and sources can be paused."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("source", sa.Text(), nullable=False, server_default=""))
    op.add_column("jobs", sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "job_pauses",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("paused_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "kind", "target", name=op.f("pk_job_pauses")),
    )
