"""Rights are inherited from collections, sources and folders; groups hold groups; users can be switched off."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
BIG_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.add_column("acls", sa.Column("given", sa.Text(), nullable=True))
    op.create_table(
        "levels",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("rights", sa.Text(), nullable=False),
        sa.Column("denies", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_levels")),
        sa.UniqueConstraint("tenant", "kind", "target", name=op.f("uq_levels_tenant_kind_target")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "acl_levels",
        sa.Column("level_id", BIG_ID, nullable=False),
        sa.Column("acl_id", BIG_ID, nullable=False),
        sa.ForeignKeyConstraint(["level_id"], ["levels.id"], name=op.f("fk_acl_levels_level_id_levels")),
        sa.ForeignKeyConstraint(["acl_id"], ["acls.id"], name=op.f("fk_acl_levels_acl_id_acls")),
        sa.PrimaryKeyConstraint("level_id", "acl_id", name=op.f("pk_acl_levels")),
    )
    op.create_index(op.f("ix_acl_levels_acl_id"), "acl_levels", ["acl_id"], unique=False)
    op.create_table(
        "nested_groups",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("parent", sa.Text(), nullable=False),
        sa.Column("child", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "parent", "child", name=op.f("pk_nested_groups")),
    )
    op.create_table(
        "inactive_users",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "subject", name=op.f("pk_inactive_users")),
    )
