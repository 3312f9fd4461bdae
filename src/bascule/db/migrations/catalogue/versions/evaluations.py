"""History of evaluation runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "eval_runs",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_eval_runs")),
    )
    op.create_index(op.f("ix_eval_runs_tenant_id"), "eval_runs", ["tenant", "id"], unique=False)
    op.create_table(
        "eval_cases",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("scrubbed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["eval_runs.id"], name=op.f("fk_eval_cases_run_id_eval_runs")),
        sa.PrimaryKeyConstraint("run_id", "number", name=op.f("pk_eval_cases")),
    )
    op.create_table(
        "eval_case_documents",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("document_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id", "number"],
            ["eval_cases.run_id", "eval_cases.number"],
            name=op.f("fk_eval_case_documents_run_id_eval_cases"),
        ),
        sa.PrimaryKeyConstraint("run_id", "number", "document_id", name=op.f("pk_eval_case_documents")),
    )
    op.create_index(op.f("ix_eval_case_documents_document_id"), "eval_case_documents", ["document_id"], unique=False)
