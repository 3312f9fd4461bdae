"""One route as data: what it needs, takes and returns. The server, its OpenAPI document and the rights matrix are made from it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bascule.core.errors import NotFound
from bascule.core.principals import Principal
from bascule.server.bodies import decode, query
from bascule.server.credentials import authenticate, require
from bascule.server.exchange import Events, Exchange, Reply, Watch

if TYPE_CHECKING:
    from bascule.bootstrap import App

_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


class Inquiry(msgspec.Struct, frozen=True):
    """One checked request. `body` and `query` are of the types the route names; `id` is the path's, "" without one.

    stopping  whether the server drains, which an answer without an end of its own must heed
    """

    app: App
    exchange: Exchange
    principal: Principal
    id: str = ""
    body: Any = None
    query: Any = None
    stopping: Callable[[], bool] = bool


Handler = Callable[[Inquiry], Awaitable["msgspec.Struct | Reply | Events | None"]]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """`scope` is "" for any valid credential. `upload`: the handler reads a form itself when one is sent.

    returns  the struct of the answer, or a content type where it is not JSON
    """

    method: str
    path: str
    handler: Handler
    summary: str
    scope: str
    tag: str
    body: Any = None
    query: Any = None
    returns: Any = None
    status: int = 200
    upload: bool = False
    watched: bool = False

    @property
    def name(self) -> str:
        return self.handler.__name__


class Endpoint:
    """Carries a route out: principal, scope, parse, call, encode. The exchange and its errors are the caller's."""

    def __init__(self, app: App, route: Route, stopping: Callable[[], bool]) -> None:
        self._app = app
        self._stopping = stopping
        self._route = route

    async def __call__(self, exchange: Exchange, path_id: str) -> None:
        route = self._route
        principal = await authenticate(self._app, exchange)
        require(principal, route.scope)
        inquiry = Inquiry(
            self._app,
            exchange,
            principal,
            checked_id(path_id),
            await self._body(exchange),
            query(exchange.scope["query_string"], route.query) if route.query else None,
            self._stopping,
        )
        if route.watched:
            with Watch(exchange):
                await self._answer(exchange, await route.handler(inquiry))
        else:
            await self._answer(exchange, await route.handler(inquiry))

    async def _body(self, exchange: Exchange) -> Any:
        route = self._route
        if route.body is None or (route.upload and exchange.header(b"content-type").startswith("multipart/form-data")):
            return None
        return decode(await exchange.body(self._app.settings.server.max_body_bytes), route.body)

    async def _answer(self, exchange: Exchange, found: msgspec.Struct | Reply | Events | None) -> None:
        if isinstance(found, Events):
            await exchange.send_events(found)
        elif isinstance(found, Reply):
            await exchange.reply(found)
        elif found is None:
            await exchange.reply(Reply(204))
        else:
            await exchange.reply(Reply(self._route.status, msgspec.json.encode(found)))


def checked_id(path_id: str) -> str:
    """An id that could be one. Raises NotFound, as for one that is not there."""
    if path_id and not _ID.fullmatch(path_id):
        raise NotFound(NOT_FOUND)
    return path_id


NOT_FOUND: Final = "There is no such thing, or you may not see it."
