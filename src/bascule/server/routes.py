"""Routes over HTTP: the models callers name, made and changed by the operator's administrators; the same routes as data."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from bascule.bootstrap.routes import ProviderView, RouteAdmin, RouteView
from bascule.core.principals import SCOPE_ADMIN
from bascule.server.bodies import Body
from bascule.server.route import Inquiry, Route


class RouteBody(Body, frozen=True, kw_only=True):
    """`settings`: the keys of [models.NAME] in the configuration, except `keep_text` and `remote_tools`."""

    name: str
    settings: dict[str, Any]
    enabled: bool = True


class RouteChange(Body, frozen=True, kw_only=True):
    """What is left out stays; `settings` given replace all there were."""

    settings: dict[str, Any] | None = None
    enabled: bool | None = None


class RouteList(msgspec.Struct, frozen=True):
    """`providers`: what targets may name."""

    data: list[RouteView]
    providers: list[ProviderView]
    object: str = "list"


def _admin(inquiry: Inquiry) -> RouteAdmin:
    routes = inquiry.app.routes
    assert routes is not None
    return routes


async def list_routes(inquiry: Inquiry) -> RouteList:
    """GET /v1/routes."""
    routes = _admin(inquiry)
    return RouteList(await routes.list(inquiry.principal), list(routes.providers(inquiry.principal)))


async def show_route(inquiry: Inquiry) -> RouteView:
    """GET /v1/routes/{id}."""
    return await _admin(inquiry).show(inquiry.principal, inquiry.id)


async def create_route(inquiry: Inquiry) -> RouteView:
    """POST /v1/routes."""
    body: RouteBody = inquiry.body
    return await _admin(inquiry).create(inquiry.principal, body.name, body.settings, body.enabled)


async def change_route(inquiry: Inquiry) -> RouteView:
    """PUT /v1/routes/{id}."""
    body: RouteChange = inquiry.body
    return await _admin(inquiry).replace(inquiry.principal, inquiry.id, body.settings, body.enabled)


async def remove_route(inquiry: Inquiry) -> None:
    """DELETE /v1/routes/{id}."""
    await _admin(inquiry).remove(inquiry.principal, inquiry.id)


ROUTE_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/v1/routes",
        handler=list_routes,
        scope=SCOPE_ADMIN,
        tag="Routes",
        summary="The models callers name, those of the file and those made over HTTP",
        returns=RouteList,
    ),
    Route(
        method="POST",
        path="/v1/routes",
        handler=create_route,
        scope=SCOPE_ADMIN,
        tag="Routes",
        summary="Make a model callers can name, over providers of the file",
        body=RouteBody,
        returns=RouteView,
        status=201,
    ),
    Route(
        method="GET",
        path="/v1/routes/{id}",
        handler=show_route,
        scope=SCOPE_ADMIN,
        tag="Routes",
        summary="One route",
        returns=RouteView,
    ),
    Route(
        method="PUT",
        path="/v1/routes/{id}",
        handler=change_route,
        scope=SCOPE_ADMIN,
        tag="Routes",
        summary="Change a route, disable or enable it, without dropping a call",
        body=RouteChange,
        returns=RouteView,
    ),
    Route(
        method="DELETE",
        path="/v1/routes/{id}",
        handler=remove_route,
        scope=SCOPE_ADMIN,
        tag="Routes",
        summary="Remove a route",
        status=204,
    ),
)
