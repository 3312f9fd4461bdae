"""API keys and the directory of memberships. Every change moves the change mark, in the same transaction."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Row

from bascule.core.errors import NotFound
from bascule.core.keys import KeyRecord, Standing
from bascule.core.principals import SCOPE_ADMIN, Principal
from bascule.db.directory import MARK, groups_of, off_among
from bascule.db.engine import insert_new
from bascule.db.marks import mark, move_mark
from bascule.db.rights import need_scope
from bascule.db.store import Store
from bascule.db.tables import keys as key_table
from bascule.db.tables import memberships
from bascule.db.values import from_json, now_text, to_json


class SqlKeys(Store):
    async def add_key(self, principal: Principal, key: KeyRecord) -> None:
        """Raises ScopeMissing without admin, NotFound for another tenant (background and the operator may name any)."""
        need_scope(principal, SCOPE_ADMIN)
        if not principal.system and key.tenant != principal.tenant:
            raise NotFound("There is no such tenant.")
        await self._write(lambda c: _add_key(c, key))

    async def keys(self, principal: Principal) -> list[KeyRecord]:
        """An admin's: the tenant's; the operator's: all; anybody else's: its own."""
        query = sa.select(key_table).where(_own(principal)).order_by(key_table.c.id)
        return await self._read(lambda c: [_record(row) for row in c.execute(query)])

    async def revoke_key(self, principal: Principal, key_id: str) -> KeyRecord:
        return await self._write(lambda c: _revoke(c, principal, key_id))

    async def expire_key(self, principal: Principal, key_id: str, expires_at: str | None) -> KeyRecord:
        return await self._write(lambda c: _expire(c, principal, key_id, expires_at))

    async def active_keys(self) -> list[KeyRecord]:
        query = sa.select(key_table).where(key_table.c.revoked_at.is_(None))
        return await self._read(lambda c: [_record(row) for row in c.execute(query)])

    async def standing(self, tenant: str, subjects: Set[str]) -> Standing:
        return await self._read(lambda c: _standing(c, tenant, subjects))

    async def change_mark(self) -> str:
        return await self._read(lambda c: mark(c, MARK))

    async def add_membership(self, principal: Principal, subject: str, groups: Sequence[str]) -> None:
        need_scope(principal, SCOPE_ADMIN)
        rows = [{"tenant": principal.tenant, "subject": subject, "group_name": group} for group in groups]
        await self._write(lambda c: _add_memberships(c, rows))

    async def remove_membership(self, principal: Principal, subject: str, groups: Sequence[str]) -> None:
        need_scope(principal, SCOPE_ADMIN)
        gone = sa.delete(memberships).where(
            memberships.c.tenant == principal.tenant,
            memberships.c.subject == subject,
            memberships.c.group_name.in_(list(groups)),
        )
        await self._write(lambda c: _change(c, gone))


def _own(principal: Principal) -> ColumnElement[bool]:
    if principal.system:
        return sa.true()
    tenant = key_table.c.tenant == principal.tenant
    if principal.is_admin:
        return tenant
    mine = key_table.c.id == principal.key_id
    if principal.subject:
        mine = sa.or_(mine, key_table.c.subject == principal.subject)
    return sa.and_(tenant, mine)


def _add_key(connection: Connection, key: KeyRecord) -> None:
    plain = {f: getattr(key, f) for f in KeyRecord.__struct_fields__ if f not in ("groups", "roles", "scopes")}
    grants = {"groups": sorted(key.groups), "roles": sorted(key.roles), "scopes": sorted(key.scopes)}
    connection.execute(sa.insert(key_table).values(**plain, grants=to_json(grants)))
    move_mark(connection, MARK)


def _revoke(connection: Connection, principal: Principal, key_id: str) -> KeyRecord:
    found = sa.select(key_table).where(key_table.c.id == key_id, _own(principal))
    row = connection.execute(found).one_or_none()
    if row is None:
        raise NotFound("There is no such key.")
    connection.execute(
        sa.update(key_table)
        .where(key_table.c.id == key_id, key_table.c.revoked_at.is_(None))
        .values(revoked_at=now_text())
    )
    move_mark(connection, MARK)
    return _record(connection.execute(found).one())


def revoke_keys_of(connection: Connection, tenant: str, subject: str) -> list[str]:
    """The ids of those that were alive; the caller moves the mark."""
    alive = sa.and_(key_table.c.tenant == tenant, key_table.c.subject == subject, key_table.c.revoked_at.is_(None))
    found = list(connection.execute(sa.select(key_table.c.id).where(alive).order_by(key_table.c.id)).scalars())
    connection.execute(sa.update(key_table).where(alive).values(revoked_at=now_text()))
    return found


def _standing(connection: Connection, tenant: str, subjects: Set[str]) -> Standing:
    query = sa.select(key_table).where(key_table.c.tenant == tenant, key_table.c.subject.in_(subjects))
    return Standing(
        groups=groups_of(connection, tenant, subjects),
        off=off_among(connection, tenant, subjects),
        keys=[_record(row) for row in connection.execute(query.where(key_table.c.revoked_at.is_(None)))],
    )


def _expire(connection: Connection, principal: Principal, key_id: str, expires_at: str | None) -> KeyRecord:
    alive = sa.and_(key_table.c.id == key_id, key_table.c.revoked_at.is_(None), _own(principal))
    if not connection.execute(sa.update(key_table).where(alive).values(expires_at=expires_at)).rowcount:
        raise NotFound("There is no such key.")
    move_mark(connection, MARK)
    return _record(connection.execute(sa.select(key_table).where(alive)).one())


def _record(row: Row[Any]) -> KeyRecord:
    fields: dict[str, Any] = dict(row._mapping)
    for name, values in from_json(fields.pop("grants")).items():
        fields[name] = frozenset(values)
    return KeyRecord(**fields)


def _add_memberships(connection: Connection, rows: list[dict[str, Any]]) -> None:
    insert_new(connection, memberships, rows)
    move_mark(connection, MARK)


def _change(connection: Connection, statement: sa.Delete) -> None:
    connection.execute(statement)
    move_mark(connection, MARK)
