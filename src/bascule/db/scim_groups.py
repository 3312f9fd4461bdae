"""Groups that a SCIM client keeps, with their members in the directory: implements the second half of `core.scim.Scim`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Row

from bascule.core.audit import listed_names
from bascule.core.ids import new_id
from bascule.core.principals import SCOPE_SCIM, Principal
from bascule.core.rights_levels import Group, GroupChange
from bascule.core.scim import MOST_MEMBERS, GroupEdit, ScimGroup, ScimInvalid, ScimMember, ScimTaken, Touched, Wanted
from bascule.db.audit import write_audit
from bascule.db.directory import patch_group, put_group
from bascule.db.rights import need_scope
from bascule.db.scim import no_such, page, write_unique
from bascule.db.scim_tables import scim_groups, scim_users
from bascule.db.store import Store
from bascule.db.tables import memberships
from bascule.db.values import now_text

_BATCH: Final = 500
_TAKEN: Final = "There is a group of this name, or one that rights know by it."


class SqlScimGroups(Store):
    async def scim_groups(self, principal: Principal, wanted: Wanted) -> tuple[int, Sequence[ScimGroup]]:
        need_scope(principal, SCOPE_SCIM)
        return await self._read(lambda c: _listed(c, principal.tenant, wanted))

    async def scim_group(self, principal: Principal, group_id: str, *, members: bool = True) -> ScimGroup:
        need_scope(principal, SCOPE_SCIM)
        return await self._read(lambda c: _group(c, principal.tenant, group_id, members=members))

    async def scim_add_group(
        self, principal: Principal, group: ScimGroup, members: frozenset[str]
    ) -> tuple[ScimGroup, Touched]:
        need_scope(principal, SCOPE_SCIM)
        return await self._write(lambda c: _add(c, principal, group, members))

    async def scim_change_group(self, principal: Principal, group_id: str, edit: GroupEdit) -> Touched:
        need_scope(principal, SCOPE_SCIM)
        return await self._write(lambda c: _change(c, principal, group_id, edit))

    async def scim_remove_group(self, principal: Principal, group_id: str) -> Touched:
        need_scope(principal, SCOPE_SCIM)
        return await self._write(lambda c: _remove(c, principal, group_id))


def _listed(connection: Connection, tenant: str, wanted: Wanted) -> tuple[int, list[ScimGroup]]:
    value: ColumnElement[bool] | None = None
    if wanted.field == "display_name":
        value = scim_groups.c.display_key == wanted.value.casefold()
    elif wanted.field == "user_name":
        value = sa.false()
    elif wanted.field is not None:
        value = scim_groups.c[wanted.field] == wanted.value
    total, rows = page(connection, scim_groups, tenant, wanted, value)
    members = _members(connection, tenant, [row.name for row in rows]) if wanted.members else {}
    return total, [_shown(row, members.get(row.name, ())) for row in rows]


def _group(
    connection: Connection, tenant: str, group_id: str, *, members: bool = True, lock: bool = False
) -> ScimGroup:
    query = sa.select(scim_groups).where(scim_groups.c.tenant == tenant, scim_groups.c.id == group_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise no_such()
    found = _members(connection, tenant, [row.name]) if members else {}
    return _shown(row, found.get(row.name, ()))


def _shown(row: Row[Any], members: Sequence[ScimMember]) -> ScimGroup:
    return ScimGroup(
        id=row.id,
        display_name=row.display_name,
        name=row.name,
        external_id=row.external_id,
        members=tuple(members),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _members(connection: Connection, tenant: str, groups: Sequence[str]) -> dict[str, list[ScimMember]]:
    """By group, those that the client knows; whom somebody else put into the group is in the directory's own list."""
    same = sa.and_(scim_users.c.tenant == memberships.c.tenant, scim_users.c.name == memberships.c.subject)
    query = (
        sa.select(memberships.c.group_name, scim_users.c.id, scim_users.c.user_name)
        .join(memberships, same)
        .where(memberships.c.tenant == tenant, memberships.c.group_name.in_(groups))
        .order_by(scim_users.c.id)
    )
    found: dict[str, list[ScimMember]] = {}
    for row in connection.execute(query):
        found.setdefault(row.group_name, []).append(ScimMember(row.id, row.user_name))
    return found


def _add(
    connection: Connection, principal: Principal, group: ScimGroup, members: frozenset[str]
) -> tuple[ScimGroup, Touched]:
    _refuse_taken(connection, principal.tenant, group)
    names = _names(connection, principal.tenant, members, strict=True)
    now = now_text()
    values = {"id": new_id(), "tenant": principal.tenant, "created_at": now, **_values(group, now)}
    write_unique(connection, sa.insert(scim_groups).values(values), _TAKEN)
    touched = put_group(connection, principal.tenant, Group(name=group.name, users=names, groups=()))
    facts = {"id": values["id"], **listed_names("users", names)}
    write_audit(connection, principal, "scim.group.add", group.name, facts)
    return _group(connection, principal.tenant, str(values["id"])), touched


def _change(connection: Connection, principal: Principal, group_id: str, edit: GroupEdit) -> Touched:
    tenant = principal.tenant
    old = _group(connection, tenant, group_id, members=False, lock=True)
    new = msgspec.structs.replace(
        old,
        display_name=old.display_name if edit.display_name is None else edit.display_name,
        external_id=old.external_id if edit.external_id is None else edit.external_id,
    )
    _refuse_taken(connection, tenant, new, group_id)
    values = _values(new, now_text())
    write_unique(connection, sa.update(scim_groups).where(scim_groups.c.id == group_id).values(values), _TAKEN)
    add = _names(connection, tenant, edit.add, strict=True)
    remove = _names(connection, tenant, edit.remove, strict=False)
    facts: dict[str, Any] = {"id": group_id, **listed_names("add", add), **listed_names("remove", remove)}
    named = frozenset({*add, *remove})
    touched: Touched = named
    if edit.members is not None:
        exact = _names(connection, tenant, edit.members, strict=True)
        whole = put_group(connection, tenant, Group(name=old.name, users=exact, groups=()))
        touched = None if whole is None else whole | named
        facts |= listed_names("users", exact)
    if add or remove:
        patch_group(connection, tenant, old.name, GroupChange(add_users=add, remove_users=remove))
    if new.display_name != old.display_name:
        facts["display_name"] = new.display_name
    write_audit(connection, principal, "scim.group.change", old.name, facts)
    return touched


def _remove(connection: Connection, principal: Principal, group_id: str) -> Touched:
    found = _group(connection, principal.tenant, group_id, members=False, lock=True)
    connection.execute(sa.delete(scim_groups).where(scim_groups.c.id == group_id))
    touched = put_group(connection, principal.tenant, Group(name=found.name, users=(), groups=()))
    write_audit(connection, principal, "scim.group.remove", found.name, {"id": group_id})
    return touched


def _names(connection: Connection, tenant: str, ids: Iterable[str], *, strict: bool) -> tuple[str, ...]:
    """The users' names in rights. Raises ScimInvalid for an id there is none of; to take such a one out is done already."""
    wanted = sorted(ids)
    if len(wanted) > MOST_MEMBERS:
        raise ScimInvalid(f"At most {MOST_MEMBERS} members at once.", "tooMany")
    found: dict[str, str] = {}
    for at in range(0, len(wanted), _BATCH):
        query = sa.select(scim_users.c.id, scim_users.c.name).where(scim_users.c.tenant == tenant)
        query = query.where(scim_users.c.id.in_(wanted[at : at + _BATCH]))
        found |= {row.id: row.name for row in connection.execute(query)}
    if strict and len(found) < len(wanted):
        raise ScimInvalid("A member is no user here.", "invalidValue")
    return tuple(sorted(found.values()))


def _refuse_taken(connection: Connection, tenant: str, group: ScimGroup, but: str = "") -> None:
    same = sa.or_(scim_groups.c.display_key == group.display_name.casefold(), scim_groups.c.name == group.name)
    query = sa.select(scim_groups.c.id).where(scim_groups.c.tenant == tenant, scim_groups.c.id != but, same)
    if connection.execute(query).first() is not None:
        raise ScimTaken(_TAKEN)


def _values(group: ScimGroup, now: str) -> dict[str, str]:
    return {
        "display_name": group.display_name,
        "display_key": group.display_name.casefold(),
        "name": group.name,
        "external_id": group.external_id,
        "updated_at": now,
    }
