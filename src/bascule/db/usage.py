"""Usage added up by the database itself, from the call records: their number never comes into this process."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection
from sqlalchemy.dialects.postgresql import JSONB

from bascule.core.principals import Principal
from bascule.core.usage import UsageRow
from bascule.db.calls import own_calls
from bascule.db.engine import Database
from bascule.db.store import Store
from bascule.db.tables import calls

_DAY_S: Final = 86_400
MOST_ROWS: Final = 2_000


class SqlUsage(Store):
    """Implements `core.usage.Usage`."""

    _call_database: Database

    async def usage(self, principal: Principal, since_s: float) -> list[UsageRow]:
        return await self._call_database.read(lambda c: _usage(c, principal, since_s))


def _usage(connection: Connection, principal: Principal, since_s: float) -> list[UsageRow]:
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
        *(_sum(name, sa.Integer(), postgres=postgres) for name in ("input_tokens", "output_tokens")),
        _sum("cost_usd", sa.Float(), postgres=postgres),
    ]
    query = sa.select(*columns).where(own_calls(principal), calls.c.started_at_s >= since_s)
    query = query.group_by(day, model, calls.c.key_id).order_by(day.desc(), model, calls.c.key_id).limit(MOST_ROWS)
    return [UsageRow(**{**row._mapping, "day": _day(row.day)}) for row in connection.execute(query)]


def _text(name: str, *, postgres: bool) -> ColumnElement[Any]:
    if postgres:
        found: ColumnElement[Any] = sa.cast(calls.c.body, JSONB)[name].astext
        return found
    return sa.func.json_extract(calls.c.body, f"$.{name}")


def _sum(name: str, kind: Any, *, postgres: bool) -> ColumnElement[Any]:
    value = sa.cast(_text(name, postgres=postgres), kind)
    return sa.cast(sa.func.coalesce(sa.func.sum(value), 0), kind).label(name)


def _day(number: int) -> str:
    return datetime.fromtimestamp(number * _DAY_S, UTC).date().isoformat()
