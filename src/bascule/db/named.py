"""Documents by whatever somebody calls them: what explaining an answer starts from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from bascule.core.documents import Document
from bascule.core.principals import Principal
from bascule.db.rights import visible
from bascule.db.store import Store
from bascule.db.tables import documents
from bascule.db.values import DOCUMENT_ROWS, document_of


class SqlNamed(Store):
    async def documents_named(self, principal: Principal, name: str, limit: int) -> list[Document]:
        return await self._read_for(principal, lambda c: _named(c, principal, name, limit))

    async def titles(self, principal: Principal, document_ids: Iterable[str]) -> dict[str, str]:
        """Of those that may be read, by id."""
        return await self._read_for(principal, lambda c: _titles(c, principal, sorted(set(document_ids))))


def _titles(connection: Connection, principal: Principal, ids: Sequence[str]) -> dict[str, str]:
    query = sa.select(documents.c.id, documents.c.title, documents.c.name).where(
        documents.c.id.in_(ids), visible(principal)
    )
    return {row.id: row.title or row.name for row in connection.execute(query)}


def _named(connection: Connection, principal: Principal, name: str, limit: int) -> list[Document]:
    called = sa.or_(*(column == name for column in _NAMES))
    query = (
        DOCUMENT_ROWS.where(called, sa.literal(name) != "", visible(principal)).order_by(documents.c.id).limit(limit)
    )
    return [document_of(row) for row in connection.execute(query)]


_NAMES = (documents.c.id, documents.c.external_id, documents.c.name, documents.c.title)
