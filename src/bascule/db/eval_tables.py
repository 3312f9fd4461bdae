"""Tables of what evaluations found."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKeyConstraint, Index, Integer, String, Table, text

from bascule.db.tables import SafeText, metadata

eval_runs = Table(
    "eval_runs",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("tenant", SafeText, nullable=False),
    Column("subject", SafeText, nullable=False),
    Column("key_id", SafeText, nullable=False),
    Column("created_at", SafeText, nullable=False),
    Column("body", SafeText, nullable=False),  # the EvalRun as JSON, without its cases
    Index(None, "tenant", "id"),
)

eval_cases = Table(
    "eval_cases",
    metadata,
    Column("run_id", String(36), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("body", SafeText, nullable=False),  # the EvalCase as JSON, without its question
    Column("question", SafeText, nullable=False),
    Column("scrubbed", Boolean, nullable=False, server_default=text("false")),
    ForeignKeyConstraint(["run_id"], ["eval_runs.id"]),
)

eval_case_documents = Table(
    "eval_case_documents",
    metadata,
    Column("run_id", String(36), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("document_id", String(36), primary_key=True, index=True),
    ForeignKeyConstraint(["run_id", "number"], ["eval_cases.run_id", "eval_cases.number"]),
)
