"""Users and groups that a SCIM client keeps."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    _table("scim_users", "user_name", "user_key", "profile")
    _table("scim_groups", "display_name", "display_key")


def _table(name: str, *own: str) -> None:
    key = own[1]
    texts = ("tenant", *own, "name", "external_id", "created_at", "updated_at")
    op.create_table(
        name,
        sa.Column("id", sa.String(length=36), nullable=False),
        *(sa.Column(text, sa.Text(), nullable=False) for text in texts),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{name}")),
        sa.UniqueConstraint("tenant", key, name=op.f(f"uq_{name}_tenant_{key}")),
        sa.UniqueConstraint("tenant", "name", name=op.f(f"uq_{name}_tenant_name")),
    )
    op.create_index(op.f(f"ix_{name}_external_id"), name, ["external_id"], unique=False)
