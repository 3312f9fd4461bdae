"""Documents, levels and who may read, on the small database in memory (see `conftest.db`)."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from bascule.core.rights import Given, Rights
from bascule.db import levels as sql
from bascule.db.level_tables import acl_levels, levels
from bascule.db.rights import rights_of, visible
from bascule.db.tables import documents, outbox
from bascule.testing.catalogue_world import person

INHERITS = Given(allow=None)
HR = Rights.of(["group:hr"])
NOT_ANN = Rights.of([], ["user:ann"])
ANN, BEN = person("ann", "hr"), person("ben")


def interned(db: Connection, given: Given, path: str = "a", **place: str) -> int:
    where = {"tenant": "acme", "collection_id": "c", "source": "upload", "external_id": path} | place
    return sql.intern_given(db, given, **where)


def put(db: Connection, path: str, given: Given = INHERITS, **more: Any) -> str:
    """A document in search, by its path and collection."""
    where = {"tenant": "acme", "collection_id": "c", "source": "upload"} | {
        key: more.pop(key) for key in ("tenant", "collection_id", "source") if key in more
    }
    name = f"{where['collection_id']}:{path}"
    blank = {c.name: "" for c in documents.c if not c.nullable and c.server_default is None}
    row = {"id": name, "external_id": path, "acl_id": interned(db, given, path, **where), "size_bytes": 1, "version": 1}
    db.execute(sa.insert(documents).values(blank | where | row | more))
    return name


def number(db: Connection, name: str, column: str = "acl_id") -> int:
    return int(db.execute(sa.select(documents.c[column]).where(documents.c.id == name)).scalar_one())


def rights(db: Connection, name: str) -> Rights:
    return rights_of(db, number(db, name))


def readers(db: Connection, name: str) -> list[bool]:
    """Whether Ann (of hr) and Ben may read it, by the entries that questions use."""
    found = [db.execute(sa.select(documents.c.id).where(visible(who))).scalars().all() for who in (ANN, BEN)]
    return [name in names for names in found]


def rule(db: Connection, kind: Any, target: str, given: Rights, tenant: str = "acme") -> int:
    return sql.set_level(db, tenant, kind, target, given)


def moved(db: Connection) -> list[tuple[str, str, str, str, int]]:
    names = ("kind", "tenant", "document_id", "collection_id", "acl_id")
    return [tuple(row) for row in db.execute(sa.select(*(outbox.c[name] for name in names)).order_by(outbox.c.seq))]


def depends_on(db: Connection, acl_id: int) -> set[str]:
    joined = sa.select(levels.c.target).join(acl_levels, acl_levels.c.level_id == levels.c.id)
    return set(db.execute(joined.where(acl_levels.c.acl_id == acl_id)).scalars())
