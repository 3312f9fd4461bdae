"""Documents know how they were prepared, and when their content last changed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    for name in ("prepared", "changed_at"):
        op.add_column("documents", sa.Column(name, sa.Text(), nullable=False, server_default=""))
    op.execute("UPDATE documents SET changed_at = updated_at")
