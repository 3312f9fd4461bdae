"""Levels as administrators see and set them, and why somebody may read a document."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from bascule.core.documents import Document
from bascule.core.errors import InvalidRequest, NotFound
from bascule.core.principals import SCOPE_ADMIN, SCOPE_AUDIT, Principal
from bascule.core.rights import Level, LevelKind, Reason, Rights, reason
from bascule.db.documents import inherit_rights
from bascule.db.level_tables import levels
from bascule.db.levels import covering, given_of, level_names, set_level
from bascule.db.rights import intern, need_scope, rights_of
from bascule.db.store import Store
from bascule.db.tables import collections, documents

MAX_NAME_CHARS = 1000


class SqlLevels(Store):
    async def levels(self, principal: Principal) -> list[Level]:
        need_scope(principal, SCOPE_ADMIN)
        query = sa.select(levels).where(levels.c.tenant == principal.tenant).order_by(levels.c.kind, levels.c.target)
        return await self._read(lambda c: level_names(c, c.execute(query)))

    async def set_level(
        self, principal: Principal, kind: LevelKind, name: str, rights: Rights, collection: str = ""
    ) -> Level:
        need_scope(principal, SCOPE_ADMIN)
        if not 0 < len(name) <= MAX_NAME_CHARS:
            raise InvalidRequest(f"A level's name has 1 to {MAX_NAME_CHARS} characters.", param="name")
        if kind == "folder" and not name.endswith("/"):
            raise InvalidRequest("A folder's name ends in a slash.", param="name")
        plain = Rights(allow=rights.allow, deny=rights.deny)
        return await self._write(lambda c: _set_level(c, principal.tenant, kind, name, plain, collection))

    async def inherit_rights(self, principal: Principal, document_id: str) -> Document:
        return await self._write(lambda c: inherit_rights(c, principal, document_id))

    async def why(self, principal: Principal, document_id: str, asker: Principal) -> Reason:
        need_scope(principal, SCOPE_AUDIT)
        return await self._read(lambda c: _why(c, principal.tenant, document_id, asker))


def _set_level(
    connection: Connection, tenant: str, kind: LevelKind, name: str, rights: Rights, collection: str
) -> Level:
    target = name
    if kind == "source":
        # Nobody may take a document in meanwhile: it could miss a level that is just being made.
        held = sa.select(collections.c.id).where(collections.c.tenant == tenant).order_by(collections.c.id)
        connection.execute(held.with_for_update()).all()
    else:
        wanted = name if kind == "collection" else collection
        here = sa.and_(collections.c.tenant == tenant, collections.c.name == wanted)
        row = connection.execute(sa.select(collections).where(here).with_for_update()).one_or_none()
        if row is None:
            raise NotFound("There is no such collection.", param="collection")
        target = f"{row.id}/{name}" if kind == "folder" else row.id
        if kind == "collection":
            owner = rights_of(connection, row.acl_id).owner
            now = Rights(allow=rights.allow, deny=rights.deny, owner=owner)
            acl_id = intern(connection, tenant, now)
            connection.execute(sa.update(collections).where(collections.c.id == row.id).values(acl_id=acl_id))
    set_level(connection, tenant, kind, target, rights)
    at = sa.and_(levels.c.tenant == tenant, levels.c.kind == kind, levels.c.target == target)
    return level_names(connection, connection.execute(sa.select(levels).where(at)))[0]


def _why(connection: Connection, tenant: str, document_id: str, asker: Principal) -> Reason:
    live = sa.and_(documents.c.id == document_id, documents.c.tenant == tenant, documents.c.deleted_at.is_(None))
    row = connection.execute(sa.select(documents).where(live)).one_or_none()
    if row is None or asker.tenant != tenant:
        raise NotFound("There is no such document.")
    above = covering(connection, tenant, row.collection_id, row.source, row.external_id)
    return reason(given_of(connection, row.acl_id), level_names(connection, above), asker)
