"""Routes that administrators made."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from bascule.core.errors import Conflict, NotFound
from bascule.core.principals import SCOPE_ADMIN, Principal
from bascule.core.routes import StoredRoute
from bascule.db.audit import write_audit
from bascule.db.engine import insert_new
from bascule.db.marks import mark, move_mark
from bascule.db.rights import need_scope
from bascule.db.store import Store
from bascule.db.tables import routes
from bascule.db.values import from_json, now_text, to_json

MARK: Final = "routes"


class SqlRoutes(Store):
    async def stored_routes(self) -> list[StoredRoute]:
        query = sa.select(routes).order_by(routes.c.name)
        return await self._read(lambda c: [_route(row) for row in c.execute(query)])

    async def routes_mark(self) -> str:
        return await self._read(lambda c: mark(c, MARK))

    async def add_route(self, principal: Principal, route: StoredRoute) -> StoredRoute:
        need_scope(principal, SCOPE_ADMIN)
        return await self._write(lambda c: _add(c, principal, route))

    async def replace_route(self, principal: Principal, route: StoredRoute) -> StoredRoute:
        need_scope(principal, SCOPE_ADMIN)
        return await self._write(lambda c: _replace(c, principal, route))

    async def remove_route(self, principal: Principal, name: str) -> None:
        need_scope(principal, SCOPE_ADMIN)
        await self._write(lambda c: _remove(c, principal, name))


def _add(connection: Connection, principal: Principal, route: StoredRoute) -> StoredRoute:
    if connection.execute(sa.select(routes.c.name).where(routes.c.name == route.name)).scalar() is not None:
        raise Conflict(f"There is a route {route.name!r} already. Change that one.")
    now = now_text()
    times = {"created_at": now, "updated_at": now}
    row = {"name": route.name, "settings": to_json(route.settings), "enabled": route.enabled, **times}
    insert_new(connection, routes, [row])
    return _done(connection, principal, "route.create", route)


def _replace(connection: Connection, principal: Principal, route: StoredRoute) -> StoredRoute:
    values = {"settings": to_json(route.settings), "enabled": route.enabled, "updated_at": now_text()}
    if not connection.execute(sa.update(routes).where(routes.c.name == route.name).values(values)).rowcount:
        raise NotFound("There is no such route.")
    return _done(connection, principal, "route.change", route)


def _done(connection: Connection, principal: Principal, act: str, route: StoredRoute) -> StoredRoute:
    move_mark(connection, MARK)
    facts = {"enabled": route.enabled, "settings": dict(route.settings)}
    write_audit(connection, principal, act, route.name, facts)
    return _route(connection.execute(sa.select(routes).where(routes.c.name == route.name)).one())


def _remove(connection: Connection, principal: Principal, name: str) -> None:
    if not connection.execute(sa.delete(routes).where(routes.c.name == name)).rowcount:
        raise NotFound("There is no such route.")
    move_mark(connection, MARK)
    write_audit(connection, principal, "route.remove", name, {})


def _route(row: Row[Any]) -> StoredRoute:
    return StoredRoute(**(dict(row._mapping) | {"settings": from_json(row.settings)}))
