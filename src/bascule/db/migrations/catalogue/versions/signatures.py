"""Signatures of documents, by which those that say nearly the same are found."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "signatures",
        sa.Column("document_id", sa.String(length=36), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("document_id", name=op.f("pk_signatures")),
    )
    op.create_table(
        "signature_bands",
        sa.Column("document_id", sa.String(length=36), nullable=False),
        sa.Column("band", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("document_id", "band", name=op.f("pk_signature_bands")),
    )
    op.create_index(op.f("ix_signature_bands_band"), "signature_bands", ["band"], unique=False)
