"""Users and groups as a SCIM client keeps them (RFC 7643): what is kept of each, and the port of the catalogue that keeps it.

Rights know a user and a group by one name each; the directory holds who is in which. SCIM adds ids that never change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, Protocol

import msgspec

from bascule.core.errors import InvalidRequest, RequestError
from bascule.core.principals import Principal

SCHEMA: Final = "urn:ietf:params:scim:schemas:core:2.0:"
MESSAGES: Final = "urn:ietf:params:scim:api:messages:2.0:"
MOST_MEMBERS: Final = 10_000

# Users (by their names in rights) whose groups or standing a change touched; None: anybody's.
Touched = frozenset[str] | None
Field = Literal["id", "user_name", "external_id", "display_name"]


class ScimInvalid(InvalidRequest):
    """`scim_type`: one of the words of RFC 7644, table 9."""

    def __init__(self, message: str, scim_type: str) -> None:
        super().__init__(message)
        self.scim_type = scim_type


class ScimTaken(RequestError):
    code = "conflict"
    http_status = 409
    scim_type = "uniqueness"


class ScimUser(msgspec.Struct, frozen=True, kw_only=True):
    """`name`: by which rights and tokens know the user. `profile`: displayName, name and emails, as they were sent."""

    id: str = ""
    user_name: str
    name: str = ""
    external_id: str = ""
    active: bool = True
    profile: dict[str, Any] = {}
    created_at: str = ""
    updated_at: str = ""


class ScimMember(msgspec.Struct, frozen=True):
    id: str
    user_name: str


class ScimGroup(msgspec.Struct, frozen=True, kw_only=True):
    """`name`: by which rights know the group. It stays when the group is shown by another one, so that no deny lapses."""

    id: str = ""
    display_name: str
    name: str = ""
    external_id: str = ""
    members: tuple[ScimMember, ...] = ()
    created_at: str = ""
    updated_at: str = ""


class GroupEdit(msgspec.Struct, frozen=True, kw_only=True):
    """What changes of a group. `members` None: those it has; then `add` comes in, and `remove` goes. All are ids of users."""

    display_name: str | None = None
    external_id: str | None = None
    members: frozenset[str] | None = None
    add: frozenset[str] = frozenset()
    remove: frozenset[str] = frozenset()


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which of a list: those whose `field` is `value`, from the `start`th on (1 is the first)."""

    field: Field | None = None
    value: str = ""
    start: int = 1
    count: int = 100
    members: bool = True


class Scim(Protocol):
    """One tenant's. Needs the scope scim. Every change is in the audit log in its own transaction and counts from its commit.

    All raise ScopeMissing and StorageError; those that name one, NotFound; changes ScimInvalid and ScimTaken. Changes return whom
    they touched, too: whoever keeps the directory in memory has only these to look at.
    """

    async def scim_users(self, principal: Principal, wanted: Wanted) -> tuple[int, Sequence[ScimUser]]:
        """How many there are in all, and this page of them."""
        ...

    async def scim_user(self, principal: Principal, user_id: str) -> ScimUser: ...

    async def scim_add_user(self, principal: Principal, user: ScimUser) -> tuple[ScimUser, Touched]: ...

    async def scim_change_user(
        self, principal: Principal, user_id: str, change: Callable[[ScimUser], ScimUser]
    ) -> tuple[ScimUser, Touched]:
        """Read and written in one transaction; `change` may be called more than once. Under another name, the user of the old
        one is switched off and its keys are revoked: they would otherwise outlive the person, and be the next one's."""
        ...

    async def scim_remove_user(self, principal: Principal, user_id: str) -> Touched:
        """Out of every group, switched off, and every key revoked: a later user of the same name is another person."""
        ...

    async def scim_groups(self, principal: Principal, wanted: Wanted) -> tuple[int, Sequence[ScimGroup]]: ...

    async def scim_group(self, principal: Principal, group_id: str, *, members: bool = True) -> ScimGroup: ...

    async def scim_add_group(
        self, principal: Principal, group: ScimGroup, members: frozenset[str]
    ) -> tuple[ScimGroup, Touched]: ...

    async def scim_change_group(self, principal: Principal, group_id: str, edit: GroupEdit) -> Touched: ...

    async def scim_remove_group(self, principal: Principal, group_id: str) -> Touched:
        """Nobody is in it any more. What rights say of it stays and lets nobody in."""
        ...
