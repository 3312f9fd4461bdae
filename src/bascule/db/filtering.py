"""Filters as SQL, on SQLite and on Postgres. Values and names of fields are bound, never written into a statement.

Nothing here can fail for what a document holds: that would tell of documents which the asker may not read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Row
from sqlalchemy.types import UserDefinedType

from bascule.core.filters import (
    FOLDER,
    INSTANTS,
    LANGUAGE,
    OWN,
    AnyOf,
    Every,
    Facts,
    Filter,
    OneOf,
    Op,
    Present,
    Value,
    Without,
)
from bascule.core.principals import Principal
from bascule.db.rights import visible
from bascule.db.tables import documents
from bascule.db.values import from_json

Condition = ColumnElement[bool]
FACTS: Final = (documents.c.external_id, documents.c.media_type, documents.c.created_at, documents.c.report)
_COLUMNS: Final = {name: documents.c[name] for name in ("source", "external_id", "name", "title", *INSTANTS)} | {
    "type": documents.c.media_type
}
_COMPARE: Final[Mapping[Op, Callable[[Any, Any], Condition]]] = {
    "eq": lambda one, other: one == other,
    "lt": lambda one, other: one < other,
    "lte": lambda one, other: one <= other,
    "gt": lambda one, other: one > other,
    "gte": lambda one, other: one >= other,
}
_LANGUAGE_FOUND: Final = "language"  # its name in a report


def matching_documents(
    connection: Connection, principal: Principal, collection_ids: frozenset[str], wanted: Filter, most: int
) -> frozenset[str] | None:
    """The visible documents that match; None when there are more than `most`."""
    condition = _Writer(connection.dialect.name == "sqlite").write(wanted)
    inside = documents.c.collection_id.in_(sorted(collection_ids))
    query = sa.select(documents.c.id).where(inside, visible(principal), condition).limit(most + 1)
    found = frozenset(connection.execute(query).scalars())
    return None if len(found) > most else found


def facts_of(row: Row[Any], metadata: Mapping[str, Any]) -> Facts:
    """Of a row that has FACTS beside a passage's columns."""
    return Facts(
        source=row.source,
        external_id=row.external_id,
        name=row.name,
        title=row.title,
        media_type=row.media_type,
        created_at=row.created_at,
        updated_at=row.updated_at,
        language=from_json(row.report).get(_LANGUAGE_FOUND),
        metadata=metadata,
    )


class _Writer:
    def __init__(self, sqlite: bool) -> None:
        self._json: _SqliteJson | _PostgresJson = _SqliteJson() if sqlite else _PostgresJson()

    def write(self, wanted: Filter) -> Condition:
        if isinstance(wanted, Every):
            return sa.and_(sa.true(), *(self.write(part) for part in wanted.parts))
        if isinstance(wanted, AnyOf):
            return sa.or_(sa.false(), *(self.write(part) for part in wanted.parts))
        if isinstance(wanted, Without):
            return sa.not_(self.write(wanted.part))
        if isinstance(wanted, Present):
            return self._present(wanted.field)
        if isinstance(wanted, OneOf):
            return sa.or_(*(self._compared(wanted.field, "eq", value) for value in wanted.values))
        return self._compared(wanted.field, wanted.op, wanted.value)

    def _present(self, field: str) -> Condition:
        if field == FOLDER:
            return documents.c.external_id.contains("/")
        if field == LANGUAGE:
            report = self._json.present(documents.c.report, _LANGUAGE_FOUND)
            return sa.or_(self._json.present(documents.c.metadata, LANGUAGE), report)
        if field.startswith(OWN):
            return self._json.present(documents.c.metadata, field.removeprefix(OWN))
        return sa.true()

    def _compared(self, field: str, op: Op, value: Value) -> Condition:
        if field == FOLDER:
            below = f"{value}/"
            return sa.func.substr(documents.c.external_id, 1, len(below)) == below
        if field == LANGUAGE:
            own = self._json.present(documents.c.metadata, LANGUAGE)
            told = self._json.has(documents.c.metadata, LANGUAGE, op, value)
            return sa.or_(told, sa.and_(~own, self._json.has(documents.c.report, _LANGUAGE_FOUND, op, value)))
        if field.startswith(OWN):
            return self._json.has(documents.c.metadata, field.removeprefix(OWN), op, value)
        return _COMPARE[op](self._json.text(_COLUMNS[field]), value)


class _SqliteJson:
    def text(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return column

    def present(self, column: ColumnElement[Any], key: str) -> Condition:
        return sa.func.coalesce(sa.func.json_type(_valid(column), _path(key)), "null") != "null"

    def has(self, column: ColumnElement[Any], key: str, op: Op, value: Value) -> Condition:
        """`json_each` gives a value's elements, or itself where it is none; an object's members are not meant."""
        each = sa.func.json_each(_valid(column), _path(key)).table_valued("type", "atom")
        listed = sa.func.coalesce(sa.func.json_type(_valid(column), _path(key)), "null") != "object"
        if isinstance(value, bool):
            holds = each.c.type == ("true" if value else "false") if op == "eq" else sa.false()
        else:
            kinds = ("text",) if isinstance(value, str) else ("integer", "real")
            holds = sa.and_(each.c.type.in_(kinds), _COMPARE[op](each.c.atom, sa.literal(value)))
        return sa.and_(listed, sa.exists(sa.select(sa.literal(1)).select_from(each).where(holds)))


def _valid(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Text that is no JSON would be an error; so it has no fields."""
    return sa.case((sa.func.json_valid(column) == 1, _without_nul(column)))


def _path(key: str) -> ColumnElement[str]:
    """The grammar lets through no name with a quotation mark or a backslash."""
    return sa.literal(f'$."{key}"')


class _Jsonb(UserDefinedType[Any]):
    """Postgres's own type would load its dialect at every start."""

    cache_ok = True

    def get_col_spec(self, **kw: Any) -> str:
        return "JSONB"


def _without_nul(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """At an escaped NUL SQLite cuts a text off, and jsonb refuses all of it; what stands in for it sorts alike."""
    return sa.func.replace(column, r"\u0000", r"\u0001")


class _PostgresJson:
    def text(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return sa.collate(column, "C")

    def present(self, column: ColumnElement[Any], key: str) -> Condition:
        return sa.func.coalesce(sa.func.jsonb_typeof(_field(column, key)), "null") != "null"

    def has(self, column: ColumnElement[Any], key: str, op: Op, value: Value) -> Condition:
        field = _field(column, key)
        listed = sa.case(
            (sa.func.jsonb_typeof(field) == "array", field),
            else_=sa.func.jsonb_build_array(field),
        )
        each = sa.func.jsonb_array_elements(listed).table_valued(sa.column("value", _Jsonb()))
        kind = sa.func.jsonb_typeof(each.c.value)
        plain = each.c.value.op("#>>")(sa.literal_column("'{}'::text[]"))
        if isinstance(value, bool):
            named = "true" if value else "false"
            holds = sa.and_(kind == "boolean", plain == named) if op == "eq" else sa.false()
        elif isinstance(value, str):
            holds = sa.and_(kind == "string", _COMPARE[op](sa.collate(plain, "C"), sa.literal(value, sa.Text)))
        else:
            number = sa.cast(sa.case((kind == "number", plain)), sa.Numeric)
            holds = sa.func.coalesce(_COMPARE[op](number, sa.literal(Decimal(repr(value)), sa.Numeric)), sa.false())
        return sa.exists(sa.select(sa.literal(1)).select_from(each).where(holds))


def _field(column: ColumnElement[Any], key: str) -> ColumnElement[Any]:
    return sa.cast(_without_nul(sa.func.nullif(column, "")), _Jsonb()).op("->")(sa.literal(key, sa.Text))
