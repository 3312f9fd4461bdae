"""Users that a SCIM client keeps: implements the first half of `core.scim.Scim`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Row, Table
from sqlalchemy.exc import IntegrityError

from bascule.core.audit import listed_names
from bascule.core.errors import NotFound
from bascule.core.ids import new_id
from bascule.core.principals import SCOPE_SCIM, Principal
from bascule.core.scim import ScimTaken, ScimUser, Touched, Wanted
from bascule.db.audit import write_audit
from bascule.db.directory import off_among, set_active
from bascule.db.keys import revoke_keys_of
from bascule.db.rights import need_scope
from bascule.db.scim_tables import scim_users
from bascule.db.store import Store
from bascule.db.tables import memberships
from bascule.db.values import from_json, now_text, to_json

_TAKEN: Final = "There is a user of this name."


class SqlScimUsers(Store):
    async def scim_users(self, principal: Principal, wanted: Wanted) -> tuple[int, Sequence[ScimUser]]:
        need_scope(principal, SCOPE_SCIM)
        return await self._read(lambda c: _listed(c, principal.tenant, wanted))

    async def scim_user(self, principal: Principal, user_id: str) -> ScimUser:
        need_scope(principal, SCOPE_SCIM)
        return await self._read(lambda c: _user(c, principal.tenant, user_id))

    async def scim_add_user(self, principal: Principal, user: ScimUser) -> tuple[ScimUser, Touched]:
        need_scope(principal, SCOPE_SCIM)
        return await self._write(lambda c: _add(c, principal, user))

    async def scim_change_user(
        self, principal: Principal, user_id: str, change: Callable[[ScimUser], ScimUser]
    ) -> tuple[ScimUser, Touched]:
        need_scope(principal, SCOPE_SCIM)
        return await self._write(lambda c: _change(c, principal, user_id, change))

    async def scim_remove_user(self, principal: Principal, user_id: str) -> Touched:
        need_scope(principal, SCOPE_SCIM)
        return await self._write(lambda c: _remove(c, principal, user_id))


def page(
    connection: Connection, table: Table, tenant: str, wanted: Wanted, value: ColumnElement[bool] | None
) -> tuple[int, list[Row[Any]]]:
    """How many rows fit, and those of this page in the order they were made."""
    here = [table.c.tenant == tenant] + ([] if value is None else [value])
    total = connection.execute(sa.select(sa.func.count()).select_from(table).where(*here)).scalar_one()
    if not wanted.count:
        return int(total), []
    query = sa.select(table).where(*here).order_by(table.c.id).limit(wanted.count).offset(wanted.start - 1)
    return int(total), list(connection.execute(query))


def no_such() -> NotFound:
    """The same words as for an id that cannot be one."""
    return NotFound("There is no such thing, or you may not see it.")


def _listed(connection: Connection, tenant: str, wanted: Wanted) -> tuple[int, list[ScimUser]]:
    value: ColumnElement[bool] | None = None
    if wanted.field == "user_name":
        value = scim_users.c.user_key == wanted.value.casefold()
    elif wanted.field == "display_name":
        value = sa.false()  # kept within the profile, and no provider looks users up by it
    elif wanted.field is not None:
        value = scim_users.c[wanted.field] == wanted.value
    total, rows = page(connection, scim_users, tenant, wanted, value)
    off = off_among(connection, tenant, [row.name for row in rows])
    return total, [_shown(row, row.name not in off) for row in rows]


def _user(connection: Connection, tenant: str, user_id: str, *, lock: bool = False) -> ScimUser:
    query = sa.select(scim_users).where(scim_users.c.tenant == tenant, scim_users.c.id == user_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise no_such()
    return _shown(row, not off_among(connection, tenant, [row.name]))


def _shown(row: Row[Any], active: bool) -> ScimUser:
    return ScimUser(
        id=row.id,
        user_name=row.user_name,
        name=row.name,
        external_id=row.external_id,
        active=active,
        profile=from_json(row.profile),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _add(connection: Connection, principal: Principal, user: ScimUser) -> tuple[ScimUser, Touched]:
    _refuse_taken(connection, principal.tenant, user)
    made = {"id": new_id(), "tenant": principal.tenant, "created_at": now_text(), **_values(user)}
    write_unique(connection, sa.insert(scim_users).values(made), _TAKEN)
    set_active(connection, principal.tenant, user.name, user.active)
    write_audit(connection, principal, "scim.user.add", user.name, _facts(made["id"], user))
    return _user(connection, principal.tenant, made["id"]), frozenset({user.name})


def _change(
    connection: Connection, principal: Principal, user_id: str, change: Callable[[ScimUser], ScimUser]
) -> tuple[ScimUser, Touched]:
    tenant, old = principal.tenant, _user(connection, principal.tenant, user_id, lock=True)
    new = change(old)
    _refuse_taken(connection, tenant, new, user_id)
    write_unique(connection, sa.update(scim_users).where(scim_users.c.id == user_id).values(_values(new)), _TAKEN)
    facts = _facts(user_id, new)
    if new.name != old.name:
        facts |= {"was": old.name, **_rename(connection, tenant, old.name, new.name)}
    if new.name != old.name or new.active != old.active:
        set_active(connection, tenant, new.name, new.active)
    write_audit(connection, principal, "scim.user.change", new.name, facts)
    return _user(connection, tenant, user_id), frozenset({old.name, new.name})


def _rename(connection: Connection, tenant: str, old: str, new: str) -> dict[str, Any]:
    """The groups move along; whoever still comes by the old name is refused. What the audit log is told."""
    here = sa.and_(memberships.c.tenant == tenant, memberships.c.subject == new)
    connection.execute(sa.delete(memberships).where(here))
    there = sa.and_(memberships.c.tenant == tenant, memberships.c.subject == old)
    connection.execute(sa.update(memberships).where(there).values(subject=new))
    revoked = revoke_keys_of(connection, tenant, old)
    set_active(connection, tenant, old, False)
    return listed_names("revoked_keys", revoked)


def _remove(connection: Connection, principal: Principal, user_id: str) -> Touched:
    found = _user(connection, principal.tenant, user_id, lock=True)
    here = sa.and_(memberships.c.tenant == principal.tenant, memberships.c.subject == found.name)
    connection.execute(sa.delete(memberships).where(here))
    connection.execute(sa.delete(scim_users).where(scim_users.c.id == user_id))
    revoked = revoke_keys_of(connection, principal.tenant, found.name)
    set_active(connection, principal.tenant, found.name, False)
    facts = {"id": user_id, **listed_names("revoked_keys", revoked)}
    write_audit(connection, principal, "scim.user.remove", found.name, facts)
    return frozenset({found.name})


def _refuse_taken(connection: Connection, tenant: str, user: ScimUser, but: str = "") -> None:
    same = sa.or_(scim_users.c.user_key == user.user_name.casefold(), scim_users.c.name == user.name)
    query = sa.select(scim_users.c.id).where(scim_users.c.tenant == tenant, scim_users.c.id != but, same)
    if connection.execute(query).first() is not None:
        raise ScimTaken(_TAKEN)


def write_unique(connection: Connection, statement: sa.Insert | sa.Update, taken: str) -> None:
    """Raises ScimTaken where somebody else took the name between our look and our word."""
    try:
        connection.execute(statement)
    except IntegrityError:
        raise ScimTaken(taken) from None


def _values(user: ScimUser) -> dict[str, Any]:
    return {
        "user_name": user.user_name,
        "user_key": user.user_name.casefold(),
        "name": user.name,
        "external_id": user.external_id,
        "profile": to_json(user.profile),
        "updated_at": now_text(),
    }


def _facts(user_id: str, user: ScimUser) -> dict[str, Any]:
    return {"id": user_id, "active": user.active}
