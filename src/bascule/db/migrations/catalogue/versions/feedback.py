"""Feedback on answers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "feedback",
        sa.Column("trace_id", sa.String(length=36), nullable=False),
        sa.Column("given_at", sa.Text(), nullable=False),
        sa.Column("rating", sa.Integer(), nullable=False),
        sa.Column("correction", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("scrubbed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.ForeignKeyConstraint(["trace_id"], ["traces.id"], name=op.f("fk_feedback_trace_id_traces")),
        sa.PrimaryKeyConstraint("trace_id", name=op.f("pk_feedback")),
    )
