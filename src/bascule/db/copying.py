"""Rows of one database to another, as they are: in pages by primary key, to go on where it stopped, and hashed on both sides."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Collection, Sequence
from functools import partial
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Table

import bascule.db.catalogue  # noqa: F401 - with every table of the catalogue
from bascule.db.engine import Database, insert_new
from bascule.db.tables import calls_metadata, collections, documents, metadata

PAGE: Final = 500
CATALOGUE: Final[Sequence[Table]] = tuple(metadata.sorted_tables)  # what is referred to comes before what refers to it
CALLS: Final[Sequence[Table]] = tuple(calls_metadata.sorted_tables)
_ACROSS: Final = ("traces", "trace_documents")  # may tell of documents of several collections
_BITS: Final = 256

Key = list[Any]


class Held(msgspec.Struct, frozen=True):
    """What a table holds: two tables with the same rows have the same hash, in whatever order they keep them."""

    rows: int
    hash: str


class Selection(msgspec.Struct, frozen=True):
    """Which rows: all, or with `collection_ids` those of some collections and what all have in common."""

    collection_ids: tuple[str, ...] = ()

    def of(self, table: Table) -> ColumnElement[bool]:
        if not self.collection_ids:
            return sa.true()
        if table is collections:
            return table.c.id.in_(self.collection_ids)
        if "collection_id" in table.c:
            return table.c.collection_id.in_(self.collection_ids)
        if table.name in _ACROSS or table.metadata is calls_metadata:
            return sa.false()
        if "document_id" in table.c:
            own = sa.select(documents.c.id).where(documents.c.collection_id.in_(self.collection_ids))
            return table.c.document_id.in_(own)
        return sa.true()


def key_of(table: Table) -> list[sa.Column[Any]]:
    return list(table.primary_key.columns) or list(table.columns)


async def copy(
    source: Database, target: Database, table: Table, chosen: Selection, after: Key | None
) -> AsyncIterator[tuple[int, Key]]:
    """Yields, after each page is committed, its number of rows and the key to go on after. Raises StorageError."""
    while True:
        page = await source.read(partial(_page, table=table, chosen=chosen, after=after))
        if not page:
            return
        await target.write(partial(insert_new, table=table, rows=page))
        after = [page[-1][column.name] for column in key_of(table)]
        yield len(page), after


def _page(connection: Connection, table: Table, chosen: Selection, after: Key | None) -> list[dict[str, Any]]:
    key = key_of(table)
    query = sa.select(table).where(chosen.of(table)).order_by(*key).limit(PAGE)
    if after is not None:
        last = [sa.literal(value, column.type) for column, value in zip(key, after, strict=True)]
        query = query.where(sa.tuple_(*key) > sa.tuple_(*last))
    return [dict(row._mapping) for row in connection.execute(query)]


async def held(database: Database, table: Table, chosen: Selection) -> Held:
    return await database.read(lambda c: _held(c, table, chosen))


def _held(connection: Connection, table: Table, chosen: Selection) -> Held:
    """A sum of hashes: engines order texts differently, and a sum has no order. A row is there once, by its key."""
    rows = total = 0
    query = sa.select(table).where(chosen.of(table)).execution_options(yield_per=PAGE)
    for row in connection.execute(query):
        rows += 1
        plain = msgspec.msgpack.encode([_plain(value) for value in row])
        total += int.from_bytes(hashlib.sha256(plain).digest(), "big")
    return Held(rows, f"{total % (1 << _BITS):064x}")


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


async def is_empty(database: Database, tables: Collection[Table]) -> bool:
    def look(connection: Connection) -> bool:
        return not any(
            connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first() for table in tables
        )

    return await database.read(look)


async def count(database: Database, table: Table, chosen: Selection) -> int:
    query = sa.select(sa.func.count()).select_from(table).where(chosen.of(table))
    return int(await database.read(lambda c: c.execute(query).scalar_one()))


async def continue_counting(source: Database, target: Database, tables: Sequence[Table]) -> None:
    """Numbers given in `target` from now on come after all that were ever given in `source`."""
    for table in tables:
        column = table.autoincrement_column
        if column is None or table.dialect_options["sqlite"]["autoincrement"] is not True:
            continue
        last = await source.read(partial(_last, table=table, column=column))
        if last:
            await target.write(partial(_go_on, table=table, column=column, last=last))


def _last(connection: Connection, table: Table, column: sa.Column[Any]) -> int:
    given = _given(connection, table, column)
    return max(given, int(connection.execute(sa.select(sa.func.max(column))).scalar() or 0))


def _given(connection: Connection, table: Table, column: sa.Column[Any]) -> int:
    if connection.dialect.name == "sqlite":
        query = sa.text("SELECT seq FROM sqlite_sequence WHERE name = :name")
        return int(connection.execute(query, {"name": table.name}).scalar() or 0)
    sequence = connection.execute(_SEQUENCE, {"table": table.name, "column": column.name}).scalar_one()
    return int(
        connection.execute(
            sa.text(f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}")
        ).scalar_one()
    )


def _go_on(connection: Connection, table: Table, column: sa.Column[Any], last: int) -> None:
    if connection.dialect.name == "sqlite":
        values = {"name": table.name, "last": last}
        connection.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = :name"), values)
        connection.execute(sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :last)"), values)
        return
    connection.execute(_SET, {"table": table.name, "column": column.name, "last": last})


_SEQUENCE: Final = sa.text("SELECT pg_get_serial_sequence(:table, :column)")
_SET: Final = sa.text("SELECT setval(pg_get_serial_sequence(:table, :column), :last)")
