"""Texts of calls that the operator chose to keep, and the documents in them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "call_texts",
        sa.Column("call_id", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("documents", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("call_id", name=op.f("pk_call_texts")),
    )
    op.create_table(
        "call_documents",
        sa.Column("call_id", sa.String(length=64), nullable=False),
        sa.Column("document_id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("call_id", "document_id", name=op.f("pk_call_documents")),
    )
    op.create_index(op.f("ix_call_documents_document_id"), "call_documents", ["document_id"], unique=False)
