"""Signatures of documents, and who shares them: asked under the reader's rights alone, so that a hidden copy leaves no mark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Connection, Index, LargeBinary, String, Table

from bascule.core.alike import alike, bands
from bascule.core.principals import Principal
from bascule.db.rights import visible
from bascule.db.store import Store
from bascule.db.tables import documents, metadata

MOST_SHOWN: Final = 5  # of one document
_LOOKED_AT: Final = 5000

signatures = Table(
    "signatures",
    metadata,
    Column("document_id", String(36), primary_key=True),
    Column("signature", LargeBinary, nullable=False),
)

signature_bands = Table(
    "signature_bands",
    metadata,
    Column("document_id", String(36), primary_key=True),
    Column("band", BigInteger, primary_key=True, autoincrement=False),
    Index(None, "band"),
)


class SqlAlikes(Store):
    """Implements `core.alike.Alikes`."""

    async def alikes(self, principal: Principal, document_ids: Sequence[str]) -> Mapping[str, list[str]]:
        if not document_ids:
            return {}
        return await self._read(lambda c: _alikes(c, principal, document_ids))


_GONE = [
    sa.delete(table).where(table.c.document_id.in_(sa.bindparam("ids", expanding=True)))
    for table in (signatures, signature_bands)
]
_NEW_SIGNATURES = sa.insert(signatures)
_NEW_BAND = "INSERT INTO signature_bands (document_id, band) VALUES "
_NEW_BANDS = {
    "sqlite": f"{_NEW_BAND}(?, ?)",
    "postgresql": f"{_NEW_BAND}(%s, %s)",
}  # half of all rows: the shortest way


def keep_signatures(connection: Connection, found: Mapping[str, bytes], known: Sequence[str]) -> None:
    """Of documents, by id; an empty one is none. Those that `known` ones had go."""
    if known:
        for statement in _GONE:
            connection.execute(statement, {"ids": list(known)})
    named = {key: signature for key, signature in found.items() if signature}
    if named:
        rows = [{"document_id": key, "signature": signature} for key, signature in named.items()]
        connection.execute(_NEW_SIGNATURES, rows)
        marks = [(key, band) for key, signature in named.items() for band in sorted(set(bands(signature)))]
        connection.exec_driver_sql(_NEW_BANDS[connection.dialect.name], marks)


def _alikes(connection: Connection, principal: Principal, ids: Sequence[str]) -> dict[str, list[str]]:
    mine = connection.execute(sa.select(documents.c.id).where(documents.c.id.in_(ids), visible(principal)))
    readable = list(mine.scalars())
    here, there = signature_bands.alias(), signature_bands.alias()
    pairs = connection.execute(
        sa.select(here.c.document_id, documents.c.id)
        .join(there, sa.and_(there.c.band == here.c.band, there.c.document_id != here.c.document_id))
        .join(documents, documents.c.id == there.c.document_id)
        .where(here.c.document_id.in_(readable), visible(principal))
        .distinct()
        .order_by(documents.c.id)
        .limit(_LOOKED_AT)
    ).all()
    wanted = {key for pair in pairs for key in pair}
    known = {row.document_id: row.signature for row in _rows(connection, sorted(wanted))}
    found: dict[str, list[str]] = {}
    for key, other in pairs:
        if len(found.get(key, ())) < MOST_SHOWN and alike(known.get(key, b""), known.get(other, b"")):
            found.setdefault(key, []).append(other)
    return found


def _rows(connection: Connection, ids: Sequence[str]) -> list[sa.Row[tuple[str, bytes]]]:
    rows: list[sa.Row[tuple[str, bytes]]] = []
    for at in range(0, len(ids), 500):
        rows += connection.execute(sa.select(signatures).where(signatures.c.document_id.in_(ids[at : at + 500])))
    return rows
