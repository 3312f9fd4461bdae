"""Keys gain a limit on calls at once and a budget for the month."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("keys", sa.Column("concurrent", sa.Integer(), nullable=True))
    op.add_column("keys", sa.Column("usd_per_month", sa.Float(), nullable=True))
