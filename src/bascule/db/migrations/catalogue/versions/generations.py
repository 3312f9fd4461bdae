"""Vectors have a generation; a collection says which it is searched by, and may have another beside it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    for name in ("model", "pin", "declined"):
        op.add_column("collections", sa.Column(name, sa.Text(), nullable=False, server_default=""))
    op.add_column("collections", sa.Column("generation", sa.Integer(), nullable=False, server_default="0"))
    op.execute("UPDATE collections SET model = 'minilm' WHERE fingerprint LIKE 'onnx:minilm:%'")
    _vectors()
    op.create_table(
        "generations",
        sa.Column("collection_id", sa.String(length=36), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("pinned", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("job_id", sa.String(length=36), nullable=False, server_default=""),
        sa.Column("embedded", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("to_embed", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("reason", sa.Text(), nullable=False, server_default=""),
        sa.Column("retired_at", sa.Text(), nullable=True),
        sa.Column("cleared", sa.String(length=36), nullable=False, server_default=""),
        sa.ForeignKeyConstraint(
            ["collection_id"], ["collections.id"], name=op.f("fk_generations_collection_id_collections")
        ),
        sa.PrimaryKeyConstraint("collection_id", "generation", name=op.f("pk_generations")),
    )
    op.create_index(op.f("ix_generations_job_id"), "generations", ["job_id"], unique=False)


def _vectors() -> None:
    """The generation becomes part of the key, for which SQLite wants another table."""
    op.drop_index(op.f("ix_vectors_document_id"), table_name="vectors")
    op.rename_table("vectors", "vectors_before")
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("pk_vectors", "vectors_before")
        op.drop_constraint("fk_vectors_chunk_id_chunks", "vectors_before")
    op.create_table(
        "vectors",
        sa.Column("chunk_id", sa.String(length=32), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("document_id", sa.String(length=36), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["chunk_id"], ["chunks.id"], name=op.f("fk_vectors_chunk_id_chunks")),
        sa.PrimaryKeyConstraint("chunk_id", "generation", name=op.f("pk_vectors")),
    )
    op.execute(
        "INSERT INTO vectors (chunk_id, generation, document_id, fingerprint, vector)"
        " SELECT chunk_id, 0, document_id, fingerprint, vector FROM vectors_before"
    )
    op.drop_table("vectors_before")
    op.create_index(op.f("ix_vectors_document_id"), "vectors", ["document_id"], unique=False)
