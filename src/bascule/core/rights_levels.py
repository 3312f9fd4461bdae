"""The ports of inherited rights and of the directory: who is in which group, and who is switched off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from bascule.core.documents import Document
from bascule.core.principals import Principal
from bascule.core.rights import Level, LevelKind, Reason, Rights


class RightsLevels(Protocol):
    """Needs an administrator of the tenant, except `why` (scope audit) and `inherit_rights` (as a change of the document)."""

    async def levels(self, principal: Principal) -> list[Level]: ...

    async def set_level(
        self, principal: Principal, kind: LevelKind, name: str, rights: Rights, collection: str = ""
    ) -> Level:
        """In force for every document under it when this returns. Raises NotFound for a collection there is none of."""
        ...

    async def inherit_rights(self, principal: Principal, document_id: str) -> Document:
        """The document has no lists of its own any more."""
        ...

    async def why(self, principal: Principal, document_id: str, asker: Principal) -> Reason:
        """Which rule lets `asker` read the document, or does not. Raises ScopeMissing, NotFound."""
        ...

    async def memberships(self, tenant: str, subject: str) -> frozenset[str]:
        """The groups a user is in, through other groups too; none for one that is switched off."""
        ...


class User(msgspec.Struct, frozen=True, kw_only=True):
    """`groups`: those it is in by itself; `all_groups`: through other groups too."""

    name: str
    active: bool
    groups: tuple[str, ...]
    all_groups: tuple[str, ...]


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Whoever is in one of `groups` is in this group too."""

    name: str
    users: tuple[str, ...]
    groups: tuple[str, ...]


class GroupChange(msgspec.Struct, frozen=True, kw_only=True):
    """Members that come and go."""

    add_users: Sequence[str] = ()
    remove_users: Sequence[str] = ()
    add_groups: Sequence[str] = ()
    remove_groups: Sequence[str] = ()


class Directory(Protocol):
    """One tenant's users and groups. Needs an administrator of it. A change counts from its commit."""

    async def users(self, principal: Principal) -> list[User]: ...

    async def groups(self, principal: Principal) -> list[Group]: ...

    async def put_group(self, principal: Principal, group: Group) -> None:
        """Exactly these members from now on."""
        ...

    async def patch_group(self, principal: Principal, name: str, change: GroupChange) -> None: ...

    async def set_active(self, principal: Principal, name: str, active: bool) -> None:
        """A user that is switched off is refused with every key and token, and is in no group."""
        ...
