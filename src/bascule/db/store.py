"""What every part of the catalogue stands on: the two kinds of transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection

from bascule.core.errors import ScopeMissing
from bascule.core.principals import Principal
from bascule.db.engine import Database
from bascule.db.wall import enter

T = TypeVar("T")


class Store:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def _read(self, work: Callable[[Connection], T]) -> T:
        return await self._database.read(work)

    async def _read_for(self, principal: Principal, work: Callable[[Connection], T]) -> T:
        """`_read`, where the database itself shows nothing that this principal may not read, if it can (db/wall.py)."""
        if not self._database.walled:
            return await self._database.read(work)

        def behind(connection: Connection) -> T:
            enter(connection, principal)
            return work(connection)

        return await self._database.read(behind, walled=True)

    async def _write(self, work: Callable[[Connection], T]) -> T:
        return await self._database.write(work)


def need_system(principal: Principal) -> None:
    """Raises ScopeMissing: background work only, which no request can pose as."""
    if not principal.system:
        raise ScopeMissing("Only background work may do this.")
