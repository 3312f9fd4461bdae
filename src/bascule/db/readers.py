"""Everybody whom some right names, and what each of them may read: to compare two catalogues."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection

from bascule.core.principals import Principal
from bascule.db.copying import Selection
from bascule.db.directory import all_memberships
from bascule.db.engine import Database
from bascule.db.rights import visible
from bascule.db.tables import acl_entries, acls, documents

MOST: Final = 2_000


async def readers(database: Database) -> list[Principal]:
    """Each user with all groups, each group and role alone, and the public, of every tenant; MOST of them, evenly chosen."""
    found = await database.read(_readers)
    return found[:: len(found) // MOST + 1]


def _readers(connection: Connection) -> list[Principal]:
    groups = all_memberships(connection)
    found = {(tenant, "public") for tenant in connection.execute(sa.select(acls.c.tenant).distinct()).scalars()}
    found |= {(tenant, f"user:{subject}") for tenant, subject in groups}
    query = sa.select(acl_entries.c.tenant, acl_entries.c.effect, acl_entries.c.mark).distinct()
    found |= {(r.tenant, f"user:{r.mark}" if r.effect == "owner" else r.mark) for r in connection.execute(query)}
    return [_principal(tenant, mark, groups) for tenant, mark in sorted(found)]


def _principal(tenant: str, mark: str, groups: Mapping[tuple[str, str], frozenset[str]]) -> Principal:
    kind, _, name = mark.partition(":")
    if kind == "user":
        return Principal(tenant=tenant, subject=name, groups=groups.get((tenant, name), frozenset()))
    if kind == "group":
        return Principal(tenant=tenant, groups=frozenset([name]))
    return Principal(tenant=tenant, roles=frozenset([name] if kind == "role" else []))


async def readable(database: Database, people: Iterable[Principal], chosen: Selection) -> dict[Principal, str]:
    """For each, a hash over the ids of the documents they may read."""
    return await database.read(lambda c: {who: _readable(c, who, chosen) for who in people})


def _readable(connection: Connection, who: Principal, chosen: Selection) -> str:
    query: Any = sa.select(documents.c.id).where(visible(who), chosen.of(documents))
    return hashlib.sha256("\n".join(sorted(connection.execute(query).scalars())).encode()).hexdigest()
