"""Counters that move with every change, in its transaction: who follows a part of the catalogue asks one row."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection

from bascule.db.engine import insert_new
from bascule.db.tables import change_marks


def mark(connection: Connection, name: str) -> str:
    query = sa.select(change_marks.c.value).where(change_marks.c.name == name)
    return str(connection.execute(query).scalar() or 0)


def move_mark(connection: Connection, name: str) -> None:
    insert_new(connection, change_marks, [{"name": name, "value": 0}])
    connection.execute(
        sa.update(change_marks).where(change_marks.c.name == name).values(value=change_marks.c.value + 1)
    )
