"""The directory over HTTP, for an identity system to keep in step: users, groups and members. Not SCIM's own schema."""

from __future__ import annotations

from typing import Final

import msgspec

from bascule.core.principals import SCOPE_ADMIN
from bascule.core.rights_levels import Group, GroupChange, User
from bascule.server.bodies import GroupBody, GroupPatch, UserBody
from bascule.server.route import Inquiry, Route


class UserList(msgspec.Struct, frozen=True):
    data: list[User]
    object: str = "list"


class GroupList(msgspec.Struct, frozen=True):
    data: list[Group]
    object: str = "list"


async def list_users(inquiry: Inquiry) -> UserList:
    """GET /v1/directory/users."""
    return UserList(await inquiry.app.directory.users(inquiry.principal))


async def set_user(inquiry: Inquiry) -> User:
    """PUT /v1/directory/users."""
    body: UserBody = inquiry.body
    directory = inquiry.app.directory
    await directory.set_active(inquiry.principal, body.name, body.active)
    await inquiry.app.authenticator.refresh()
    found = (user for user in await directory.users(inquiry.principal) if user.name == body.name)
    return next(found, User(name=body.name, active=body.active, groups=(), all_groups=()))


async def list_groups(inquiry: Inquiry) -> GroupList:
    """GET /v1/directory/groups."""
    return GroupList(await inquiry.app.directory.groups(inquiry.principal))


async def put_group(inquiry: Inquiry) -> Group:
    """PUT /v1/directory/groups."""
    body: GroupBody = inquiry.body
    group = Group(name=body.name, users=tuple(sorted(set(body.users))), groups=tuple(sorted(set(body.groups))))
    await inquiry.app.directory.put_group(inquiry.principal, group)
    await inquiry.app.authenticator.refresh()
    return group


async def patch_group(inquiry: Inquiry) -> Group:
    """PATCH /v1/directory/groups."""
    body: GroupPatch = inquiry.body
    change = GroupChange(
        add_users=body.add_users,
        remove_users=body.remove_users,
        add_groups=body.add_groups,
        remove_groups=body.remove_groups,
    )
    await inquiry.app.directory.patch_group(inquiry.principal, body.name, change)
    await inquiry.app.authenticator.refresh()
    for group in await inquiry.app.directory.groups(inquiry.principal):
        if group.name == body.name:
            return group
    return Group(name=body.name, users=(), groups=())


DIRECTORY_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/v1/directory/users",
        handler=list_users,
        scope=SCOPE_ADMIN,
        tag="Directory",
        summary="Users known by a group or a switch, with their groups",
        returns=UserList,
    ),
    Route(
        method="PUT",
        path="/v1/directory/users",
        handler=set_user,
        scope=SCOPE_ADMIN,
        tag="Directory",
        summary="Switch a user off or on",
        body=UserBody,
        returns=User,
    ),
    Route(
        method="GET",
        path="/v1/directory/groups",
        handler=list_groups,
        scope=SCOPE_ADMIN,
        tag="Directory",
        summary="Groups with their members",
        returns=GroupList,
    ),
    Route(
        method="PUT",
        path="/v1/directory/groups",
        handler=put_group,
        scope=SCOPE_ADMIN,
        tag="Directory",
        summary="Give a group exactly these members",
        body=GroupBody,
        returns=Group,
    ),
    Route(
        method="PATCH",
        path="/v1/directory/groups",
        handler=patch_group,
        scope=SCOPE_ADMIN,
        tag="Directory",
        summary="Add and remove members of a group",
        body=GroupPatch,
        returns=Group,
    ),
)
