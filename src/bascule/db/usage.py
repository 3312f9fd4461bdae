"""Usage added up by the database itself, from the call records: their number never comes into this process."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection
from sqlalchemy.dialects.postgresql import JSONB

from bascule.core.principals import Principal
from bascule.core.usage import UsageRow, UsageRows
from bascule.db.calls import own_calls
from bascule.db.engine import Database
from bascule.db.store import Store
from bascule.db.tables import calls

_DAY_S: Final = 86_400
MOST_ROWS: Final = 2_000
# Counts are what a vendor said: one that is out of its mind must not make everybody's sum fail.
_MOST_COUNTED: Final = 10**12
_NUL: Final = r"\u0000"  # JSON may hold it, Postgres's texts may not
_NULS: Final = r"(?<!\\)((?:\\\\)*)\\u0000"


class SqlUsage(Store):
    """Implements `core.usage.Usage`."""

    _call_database: Database

    async def usage(self, principal: Principal, since_s: float) -> UsageRows:
        return await self._call_database.read(lambda c: _usage(c, principal, since_s))


def _usage(connection: Connection, principal: Principal, since_s: float) -> UsageRows:
    postgres = connection.dialect.name == "postgresql"
    day = sa.cast(
        sa.func.floor(calls.c.started_at_s / _DAY_S) if postgres else calls.c.started_at_s / _DAY_S, sa.Integer
    )
    model = _text("model", postgres=postgres)
    columns = [
        day.label("day"),
        model.label("model"),
        calls.c.key_id,
        sa.func.count().label("calls"),
        sa.func.sum(sa.case((_text("outcome", postgres=postgres) == "ok", 0), else_=1)).label("failed"),
        sa.func.sum(sa.case((_text("cache", postgres=postgres) == "HIT", 1), else_=0)).label("hits"),
        *(_counted(name, postgres=postgres) for name in ("input_tokens", "output_tokens")),
        _cost(postgres=postgres),
    ]
    query = sa.select(*columns).where(own_calls(principal), calls.c.started_at_s >= since_s)
    query = query.group_by(day, model, calls.c.key_id).order_by(day.desc(), model, calls.c.key_id).limit(MOST_ROWS + 1)
    rows = [UsageRow(**{**row._mapping, "day": _day(row.day)}) for row in connection.execute(query)]
    return UsageRows(rows[:MOST_ROWS], more=len(rows) > MOST_ROWS)


def _text(name: str, *, postgres: bool) -> ColumnElement[Any]:
    if postgres:
        clean = sa.func.regexp_replace(calls.c.body, _NULS, r"\1", "g")
        body = sa.case((sa.func.strpos(calls.c.body, _NUL) > 0, clean), else_=calls.c.body)
        found: ColumnElement[Any] = sa.cast(body, JSONB)[name].astext
        return found
    return sa.func.json_extract(calls.c.body, f"$.{name}")


def _counted(name: str, *, postgres: bool) -> ColumnElement[Any]:
    value = sa.cast(_text(name, postgres=postgres), sa.Numeric() if postgres else sa.BigInteger())
    bounded = sa.case((value > _MOST_COUNTED, _MOST_COUNTED), (value > 0, value), else_=0)
    return sa.cast(sa.func.sum(bounded), sa.BigInteger()).label(name)


def _cost(*, postgres: bool) -> ColumnElement[Any]:
    value = sa.cast(_text("cost_usd", postgres=postgres), sa.Float())
    return sa.cast(sa.func.coalesce(sa.func.sum(value), 0), sa.Float()).label("cost_usd")


def _day(number: int) -> str:
    return datetime.fromtimestamp(number * _DAY_S, UTC).date().isoformat()
