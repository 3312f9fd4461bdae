"""Tables of the directory beside `memberships`: groups in groups, and users switched off."""

from __future__ import annotations

from sqlalchemy import Column, Table

from bascule.db.tables import SafeText, metadata

nested_groups = Table(
    "nested_groups",
    metadata,
    Column("tenant", SafeText, primary_key=True),
    Column("parent", SafeText, primary_key=True),
    Column("child", SafeText, primary_key=True),
)

inactive_users = Table(
    "inactive_users",
    metadata,
    Column("tenant", SafeText, primary_key=True),
    Column("subject", SafeText, primary_key=True),
)
