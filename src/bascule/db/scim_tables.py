"""Tables of users and groups that a SCIM client keeps. Who is in a group stands in `memberships`, as for all others."""

from __future__ import annotations

from sqlalchemy import Column, String, Table, UniqueConstraint

from bascule.db.tables import SafeText, metadata

# user_key: the user name without case, by which SCIM tells two apart. name: the subject in rights and tokens.
scim_users = Table(
    "scim_users",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("tenant", SafeText, nullable=False),
    Column("user_name", SafeText, nullable=False),
    Column("user_key", SafeText, nullable=False),
    Column("name", SafeText, nullable=False),
    Column("external_id", SafeText, nullable=False, index=True),
    Column("profile", SafeText, nullable=False),
    Column("created_at", SafeText, nullable=False),
    Column("updated_at", SafeText, nullable=False),
    UniqueConstraint("tenant", "user_key"),
    UniqueConstraint("tenant", "name"),
)

scim_groups = Table(
    "scim_groups",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("tenant", SafeText, nullable=False),
    Column("display_name", SafeText, nullable=False),
    Column("display_key", SafeText, nullable=False),
    Column("name", SafeText, nullable=False),
    Column("external_id", SafeText, nullable=False, index=True),
    Column("created_at", SafeText, nullable=False),
    Column("updated_at", SafeText, nullable=False),
    UniqueConstraint("tenant", "display_key"),
    UniqueConstraint("tenant", "name"),
)
