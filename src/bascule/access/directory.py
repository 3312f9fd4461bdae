"""The directory's changes, audited first: groups, their members, and users switched off."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from bascule.core.audit import listed_names
from bascule.core.catalogue import AuditLog
from bascule.core.errors import InvalidRequest, ScopeMissing
from bascule.core.principals import SCOPE_ADMIN, Principal
from bascule.core.rights import parse_mark
from bascule.core.rights_levels import Directory, Group, GroupChange, User

_MOST: Final = 10_000


class DirectoryService:
    """For administrators, within their tenant. In force at commit; keys held in memory follow within half a second."""

    def __init__(self, directory: Directory, audit: AuditLog) -> None:
        self._directory = directory
        self._audit = audit

    async def users(self, principal: Principal) -> list[User]:
        """Raises ScopeMissing, StorageError, as all of these."""
        return await self._directory.users(_admin(principal))

    async def groups(self, principal: Principal) -> list[Group]:
        return await self._directory.groups(_admin(principal))

    async def put_group(self, principal: Principal, group: Group) -> None:
        """Exactly these members from now on. Raises InvalidRequest too."""
        _admin(principal)
        _checked("group", [group.name, *group.groups])
        _checked("user", group.users)
        facts = listed_names("users", group.users) | listed_names("groups", group.groups)
        await self._audit.audit(principal, "group.put", group.name, facts)
        await self._directory.put_group(principal, group)

    async def patch_group(self, principal: Principal, name: str, change: GroupChange) -> None:
        """Raises InvalidRequest too."""
        _admin(principal)
        _checked("group", [name, *change.add_groups, *change.remove_groups])
        _checked("user", [*change.add_users, *change.remove_users])
        facts: dict[str, Any] = {}
        for fact in GroupChange.__struct_fields__:
            facts |= listed_names(fact, getattr(change, fact))
        await self._audit.audit(principal, "group.patch", name, facts)
        await self._directory.patch_group(principal, name, change)

    async def set_active(self, principal: Principal, name: str, active: bool) -> None:
        """Switch a user off or on: off, every key and token of theirs is refused. Raises InvalidRequest too."""
        _admin(principal)
        _checked("user", [name])
        await self._audit.audit(principal, "user.on" if active else "user.off", name, {})
        await self._directory.set_active(principal, name, active)


def _admin(principal: Principal) -> Principal:
    if not principal.is_admin:
        raise ScopeMissing(f"This key lacks the scope {SCOPE_ADMIN!r}.")
    return principal


def _checked(kind: str, names: Iterable[str]) -> None:
    found = list(names)
    if len(found) > _MOST:
        raise InvalidRequest(f"At most {_MOST} members at once.")
    for name in found:
        parse_mark(f"{kind}:{name}")
