"""The directory: users, groups, groups in groups. Every change moves the change mark that authenticators follow."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection

from bascule.core.principals import SCOPE_ADMIN, Principal
from bascule.core.rights_levels import Group, GroupChange, User
from bascule.core.scim import Touched
from bascule.db.directory_tables import inactive_users, nested_groups
from bascule.db.engine import insert_new
from bascule.db.marks import move_mark
from bascule.db.rights import need_scope
from bascule.db.store import Store
from bascule.db.tables import memberships

MARK = "access"  # of keys and the directory together
Who = tuple[str, str]  # (tenant, name)


class SqlDirectory(Store):
    async def users(self, principal: Principal) -> list[User]:
        need_scope(principal, SCOPE_ADMIN)
        return await self._read(lambda c: _users(c, principal.tenant))

    async def groups(self, principal: Principal) -> list[Group]:
        need_scope(principal, SCOPE_ADMIN)
        return await self._read(lambda c: _groups(c, principal.tenant))

    async def put_group(self, principal: Principal, group: Group) -> None:
        need_scope(principal, SCOPE_ADMIN)
        await self._write(lambda c: put_group(c, principal.tenant, group))

    async def patch_group(self, principal: Principal, name: str, change: GroupChange) -> None:
        need_scope(principal, SCOPE_ADMIN)
        await self._write(lambda c: patch_group(c, principal.tenant, name, change))

    async def set_active(self, principal: Principal, name: str, active: bool) -> None:
        need_scope(principal, SCOPE_ADMIN)
        await self._write(lambda c: set_active(c, principal.tenant, name, active))

    async def memberships(self, tenant: str, subject: str) -> frozenset[str]:
        found = await self._read(lambda c: groups_of(c, tenant, [subject]))
        return found.get(subject, frozenset())

    async def all_memberships(self) -> dict[Who, frozenset[str]]:
        """By user, through other groups too."""
        return await self._read(all_memberships)

    async def inactive_subjects(self) -> frozenset[Who]:
        return await self._read(_inactive)


def all_memberships(connection: Connection) -> dict[Who, frozenset[str]]:
    direct, above = _direct(connection), _above(connection, None)
    off = _inactive(connection)
    return {
        who: frozenset(_closure(groups, above, who[0])) for who, groups in direct.items() if groups and who not in off
    }


def groups_of(connection: Connection, tenant: str, subjects: Collection[str]) -> dict[str, frozenset[str]]:
    """Through other groups too; nothing of a user that is switched off or in no group."""
    direct = _direct(connection, memberships.c.tenant == tenant, memberships.c.subject.in_(subjects))
    above = _above(connection, tenant) if direct else {}
    off = off_among(connection, tenant, subjects)
    return {name: frozenset(_closure(groups, above, tenant)) for (_, name), groups in direct.items() if name not in off}


def off_among(connection: Connection, tenant: str, subjects: Collection[str]) -> frozenset[str]:
    query = sa.select(inactive_users.c.subject).where(inactive_users.c.tenant == tenant)
    return frozenset(connection.execute(query.where(inactive_users.c.subject.in_(subjects))).scalars())


def _direct(connection: Connection, *which: ColumnElement[bool]) -> dict[Who, set[str]]:
    found: dict[Who, set[str]] = {}
    for row in connection.execute(sa.select(memberships).where(*which)):
        found.setdefault((row.tenant, row.subject), set()).add(row.group_name)
    return found


def _above(connection: Connection, tenant: str | None) -> dict[Who, set[str]]:
    query = sa.select(nested_groups)
    found: dict[Who, set[str]] = {}
    for row in connection.execute(query if tenant is None else query.where(nested_groups.c.tenant == tenant)):
        found.setdefault((row.tenant, row.child), set()).add(row.parent)
    return found


def _closure(groups: Iterable[str], above: Mapping[Who, set[str]], tenant: str) -> set[str]:
    """Groups may hold each other in a ring."""
    reached: set[str] = set()
    waiting = list(groups)
    while waiting:
        group = waiting.pop()
        if group not in reached:
            reached.add(group)
            waiting += above.get((tenant, group), ())
    return reached


def _inactive(connection: Connection) -> frozenset[Who]:
    return frozenset((row.tenant, row.subject) for row in connection.execute(sa.select(inactive_users)))


def _users(connection: Connection, tenant: str) -> list[User]:
    direct, above = _direct(connection, memberships.c.tenant == tenant), _above(connection, tenant)
    off = _inactive(connection)
    names = {name for _, name in direct} | {name for owner, name in off if owner == tenant}
    return [
        User(
            name=name,
            active=(tenant, name) not in off,
            groups=tuple(sorted(direct.get((tenant, name), ()))),
            all_groups=tuple(sorted(_closure(direct.get((tenant, name), ()), above, tenant))),
        )
        for name in sorted(names)
    ]


def _groups(connection: Connection, tenant: str) -> list[Group]:
    users: dict[str, set[str]] = {}
    inner: dict[str, set[str]] = {}
    for (_, name), groups in _direct(connection, memberships.c.tenant == tenant).items():
        for group in groups:
            users.setdefault(group, set()).add(name)
    for (_, child), parents in _above(connection, tenant).items():
        for parent in parents:
            inner.setdefault(parent, set()).add(child)
    return [
        Group(name=name, users=tuple(sorted(users.get(name, ()))), groups=tuple(sorted(inner.get(name, ()))))
        for name in sorted(users.keys() | inner.keys())
    ]


def put_group(connection: Connection, tenant: str, group: Group) -> Touched:
    own = sa.and_(memberships.c.tenant == tenant, memberships.c.group_name == group.name)
    before = frozenset(connection.execute(sa.select(memberships.c.subject).where(own)).scalars())
    connection.execute(sa.delete(memberships).where(own))
    held = sa.and_(nested_groups.c.tenant == tenant, nested_groups.c.parent == group.name)
    inner = connection.execute(sa.delete(nested_groups).where(held)).rowcount
    patch_group(connection, tenant, group.name, GroupChange(add_users=group.users, add_groups=group.groups))
    return None if inner or group.groups else before | frozenset(group.users)


def patch_group(connection: Connection, tenant: str, name: str, change: GroupChange) -> None:
    gone = sa.and_(memberships.c.tenant == tenant, memberships.c.group_name == name)
    connection.execute(sa.delete(memberships).where(gone, memberships.c.subject.in_(list(change.remove_users))))
    held = sa.and_(nested_groups.c.tenant == tenant, nested_groups.c.parent == name)
    connection.execute(sa.delete(nested_groups).where(held, nested_groups.c.child.in_(list(change.remove_groups))))
    insert_new(
        connection, memberships, [{"tenant": tenant, "subject": user, "group_name": name} for user in change.add_users]
    )
    inner: list[dict[str, Any]] = [{"tenant": tenant, "parent": name, "child": group} for group in change.add_groups]
    insert_new(connection, nested_groups, inner)
    move_mark(connection, MARK)


def set_active(connection: Connection, tenant: str, name: str, active: bool) -> None:
    if active:
        here = sa.and_(inactive_users.c.tenant == tenant, inactive_users.c.subject == name)
        connection.execute(sa.delete(inactive_users).where(here))
    else:
        insert_new(connection, inactive_users, [{"tenant": tenant, "subject": name}])
    move_mark(connection, MARK)
