"""SCIM 2.0 over HTTP (RFC 7644): what Okta, Entra ID and their like send to keep users and groups in step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

import msgspec

from bascule.access.scim import Naming, group_edit, group_of, user_of, user_patch, wanted_by
from bascule.core.errors import NotFound
from bascule.core.principals import SCOPE_SCIM
from bascule.core.scim import GroupEdit, ScimInvalid, ScimUser, Touched, Wanted
from bascule.server.exchange import Reply
from bascule.server.route import NOT_FOUND, Inquiry, Route
from bascule.server.scim_views import (
    BASE,
    CONFIG,
    MOST,
    RESOURCE_TYPES,
    SCHEMAS,
    group_view,
    listed,
    location,
    reply,
    user_view,
)

Resource = dict[str, Any]
_TYPE: Final = "application/scim+json"


class ScimQuery(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Other parameters are read over, as RFC 7644 asks."""

    filter: Annotated[str, msgspec.Meta(max_length=2_000)] = ""
    start_index: int = 1
    count: int = 100
    excluded_attributes: Annotated[str, msgspec.Meta(max_length=2_000)] = ""

    @property
    def members(self) -> bool:
        return "members" not in {name.strip().lower() for name in self.excluded_attributes.split(",")}

    def wanted(self) -> Wanted:
        field, value = wanted_by(self.filter)
        start, count = max(1, min(self.start_index, 10**9)), max(0, min(self.count, MOST))
        return Wanted(field=field, value=value, start=start, count=count, members=self.members)


class Patch(msgspec.Struct, frozen=True, kw_only=True):
    operations: Annotated[Sequence[Any], msgspec.Meta(min_length=1, max_length=1_000)]

    @classmethod
    def of(cls, body: Resource) -> Sequence[Any]:
        """Raises ScimInvalid."""
        named = {name.lower(): value for name, value in body.items()}
        try:
            return msgspec.convert({"operations": named.get("operations")}, cls).operations
        except msgspec.ValidationError:
            raise ScimInvalid("A patch has 1 to 1000 Operations.", "invalidSyntax") from None


def _naming(inquiry: Inquiry) -> Naming:
    wanted = inquiry.app.settings.scim
    return Naming(wanted.user_name, wanted.group_name)


async def _known(inquiry: Inquiry, touched: Touched) -> None:
    """Whoever has just been switched off, or lost a group, is so at once here."""
    if touched is None:
        await inquiry.app.authenticator.refresh()
    elif touched:
        await inquiry.app.authenticator.refresh_some(inquiry.principal.tenant, touched)


# ---------------------------------------------------------------- users


async def scim_users(inquiry: Inquiry) -> Reply:
    """GET /scim/v2/Users."""
    wanted = inquiry.query.wanted()
    total, found = await inquiry.app.catalogue.scim_users(inquiry.principal, wanted)
    return reply(listed(total, wanted.start, [user_view(user) for user in found]))


async def scim_add_user(inquiry: Inquiry) -> Reply:
    """POST /scim/v2/Users."""
    user = user_of(inquiry.body, _naming(inquiry))
    made, touched = await inquiry.app.catalogue.scim_add_user(inquiry.principal, user)
    await _known(inquiry, touched)
    return reply(user_view(made), 201, location("User", made.id))


async def scim_user(inquiry: Inquiry) -> Reply:
    """GET /scim/v2/Users/{id}."""
    return reply(user_view(await inquiry.app.catalogue.scim_user(inquiry.principal, inquiry.id)))


async def scim_put_user(inquiry: Inquiry) -> Reply:
    """PUT /scim/v2/Users/{id}."""
    new = user_of(inquiry.body, _naming(inquiry))
    return await _change_user(inquiry, lambda _: new)


async def scim_patch_user(inquiry: Inquiry) -> Reply:
    """PATCH /scim/v2/Users/{id}."""
    return await _change_user(inquiry, user_patch(Patch.of(inquiry.body), _naming(inquiry)))


async def _change_user(inquiry: Inquiry, change: Callable[[ScimUser], ScimUser]) -> Reply:
    found, touched = await inquiry.app.catalogue.scim_change_user(inquiry.principal, inquiry.id, change)
    await _known(inquiry, touched)
    return reply(user_view(found))


async def scim_remove_user(inquiry: Inquiry) -> None:
    """DELETE /scim/v2/Users/{id}."""
    await _known(inquiry, await inquiry.app.catalogue.scim_remove_user(inquiry.principal, inquiry.id))


# ---------------------------------------------------------------- groups


async def scim_groups(inquiry: Inquiry) -> Reply:
    """GET /scim/v2/Groups."""
    wanted = inquiry.query.wanted()
    total, found = await inquiry.app.catalogue.scim_groups(inquiry.principal, wanted)
    return reply(listed(total, wanted.start, [group_view(group, members=wanted.members) for group in found]))


async def scim_add_group(inquiry: Inquiry) -> Reply:
    """POST /scim/v2/Groups."""
    group, members = group_of(inquiry.body, _naming(inquiry))
    made, touched = await inquiry.app.catalogue.scim_add_group(inquiry.principal, group, members)
    await _known(inquiry, touched)
    return reply(group_view(made, members=True), 201, location("Group", made.id))


async def scim_group(inquiry: Inquiry) -> Reply:
    """GET /scim/v2/Groups/{id}."""
    members = inquiry.query.members
    found = await inquiry.app.catalogue.scim_group(inquiry.principal, inquiry.id, members=members)
    return reply(group_view(found, members=members))


async def scim_put_group(inquiry: Inquiry) -> Reply:
    """PUT /scim/v2/Groups/{id}."""
    group, members = group_of(inquiry.body, _naming(inquiry))
    edit = GroupEdit(display_name=group.display_name, external_id=group.external_id, members=members)
    await _edit_group(inquiry, edit)
    found = await inquiry.app.catalogue.scim_group(inquiry.principal, inquiry.id)
    return reply(group_view(found, members=True))


async def scim_patch_group(inquiry: Inquiry) -> None:
    """PATCH /scim/v2/Groups/{id}. Nothing is sent back: a group of thousands, for each member that comes, would be much."""
    await _edit_group(inquiry, group_edit(Patch.of(inquiry.body)))


async def _edit_group(inquiry: Inquiry, edit: GroupEdit) -> None:
    await _known(inquiry, await inquiry.app.catalogue.scim_change_group(inquiry.principal, inquiry.id, edit))


async def scim_remove_group(inquiry: Inquiry) -> None:
    """DELETE /scim/v2/Groups/{id}."""
    await _known(inquiry, await inquiry.app.catalogue.scim_remove_group(inquiry.principal, inquiry.id))


# ---------------------------------------------------------------- the service itself


async def scim_config(inquiry: Inquiry) -> Reply:
    """GET /scim/v2/ServiceProviderConfig."""
    return reply(CONFIG)


async def scim_resource_types(inquiry: Inquiry) -> Reply:
    """GET /scim/v2/ResourceTypes."""
    return reply(listed(len(RESOURCE_TYPES), 1, RESOURCE_TYPES))


async def scim_schemas(inquiry: Inquiry) -> Reply:
    """GET /scim/v2/Schemas."""
    return reply(listed(len(SCHEMAS), 1, SCHEMAS))


async def scim_schema(inquiry: Inquiry) -> Reply:
    """GET /scim/v2/Schemas/{id}."""
    for schema in SCHEMAS:
        if schema["id"] == inquiry.id:
            return reply(schema)
    raise NotFound(NOT_FOUND)


def _route(method: str, path: str, handler: Any, summary: str, **more: Any) -> Route:
    return Route(
        method=method,
        path=BASE + path,
        handler=handler,
        scope=SCOPE_SCIM,
        tag="SCIM",
        summary=summary,
        returns=None if more.get("status") == 204 else _TYPE,
        **more,
    )


SCIM_ROUTES: Final[tuple[Route, ...]] = (
    _route("GET", "/ServiceProviderConfig", scim_config, "What of SCIM is supported"),
    _route("GET", "/ResourceTypes", scim_resource_types, "Users and groups"),
    _route("GET", "/Schemas", scim_schemas, "The attributes that are kept"),
    _route("GET", "/Schemas/{id}", scim_schema, "The attributes of one resource"),
    _route("GET", "/Users", scim_users, "Users that SCIM keeps", query=ScimQuery),
    _route("POST", "/Users", scim_add_user, "Add a user", body=Resource, status=201),
    _route("GET", "/Users/{id}", scim_user, "One user"),
    _route("PUT", "/Users/{id}", scim_put_user, "Replace a user", body=Resource),
    _route("PATCH", "/Users/{id}", scim_patch_user, "Change a user", body=Resource),
    _route("DELETE", "/Users/{id}", scim_remove_user, "Remove a user: refused at once, in no group", status=204),
    _route("GET", "/Groups", scim_groups, "Groups that SCIM keeps", query=ScimQuery),
    _route("POST", "/Groups", scim_add_group, "Add a group", body=Resource, status=201),
    _route("GET", "/Groups/{id}", scim_group, "One group", query=ScimQuery),
    _route("PUT", "/Groups/{id}", scim_put_group, "Replace a group and its members", body=Resource),
    _route("PATCH", "/Groups/{id}", scim_patch_group, "Change a group or its members", body=Resource, status=204),
    _route("DELETE", "/Groups/{id}", scim_remove_group, "Remove a group", status=204),
)
