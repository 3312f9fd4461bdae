"""Tables of inherited rights: rules on a collection, a source or a folder, and which sets of rights depend on them."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKey, String, Table, UniqueConstraint

from bascule.db.tables import BigId, SafeText, metadata

# target: a collection's id, a source's name, or "COLLECTION_ID/PATH/". denies: it shut somebody out, now or once.
levels = Table(
    "levels",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("tenant", SafeText, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("target", SafeText, nullable=False),
    Column("rights", SafeText, nullable=False),  # as Rights.canonical
    Column("denies", Boolean, nullable=False),
    UniqueConstraint("tenant", "kind", "target"),
    sqlite_autoincrement=True,
)

acl_levels = Table(
    "acl_levels",
    metadata,
    Column("level_id", BigId, ForeignKey("levels.id"), primary_key=True),
    Column("acl_id", BigId, ForeignKey("acls.id"), primary_key=True, index=True),
)
