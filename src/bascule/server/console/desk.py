"""The console's way to answers, documents and figures: the public routes, asked in this process as whoever is signed in.

A page that shows or changes something goes through here, so that scopes, checks, rights and audit are the API's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import msgspec

from bascule.core.principals import Principal
from bascule.server.bodies import decode, query
from bascule.server.credentials import require
from bascule.server.exchange import Events, Exchange, Reply, Watch
from bascule.server.route import Inquiry, Route, checked_id
from bascule.server.table import ROUTES

if TYPE_CHECKING:
    from bascule.bootstrap import App

_BY_NAME: Final[Mapping[str, Route]] = {route.name: route for route in ROUTES}


class Desk(msgspec.Struct, frozen=True):
    """`stopping`: whether the server drains."""

    app: App
    exchange: Exchange
    principal: Principal
    stopping: Callable[[], bool]

    def may(self, name: str) -> bool:
        """Whether this caller's scopes open the route of this name."""
        scope = _BY_NAME[name].scope
        return not scope or self.principal.can(scope)

    async def ask(
        self, name: str, id: str = "", *, asked: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None
    ) -> Any:
        """The route's answer as plain data. Raises what the route raises."""
        inquiry, route = self._inquiry(name, id, asked, body)
        with Watch(self.exchange) if route.watched else nullcontext():
            found = await route.handler(inquiry)
        if isinstance(found, Reply):
            return msgspec.json.decode(found.body)
        return msgspec.to_builtins(found)

    async def follow(self, name: str, id: str) -> Events:
        """A route whose answer is server-sent events."""
        inquiry, route = self._inquiry(name, id, None, None)
        found = await route.handler(inquiry)
        assert isinstance(found, Events)
        return found

    def _inquiry(
        self, name: str, id: str, asked: Mapping[str, Any] | None, body: Mapping[str, Any] | None
    ) -> tuple[Inquiry, Route]:
        route = _BY_NAME[name]
        require(self.principal, route.scope)
        made = Inquiry(
            self.app,
            self.exchange,
            self.principal,
            checked_id(id),
            decode(msgspec.json.encode(body or {}), route.body) if route.body is not None else None,
            query(urlencode(asked or {}).encode(), route.query) if route.query else None,
            self.stopping,
        )
        return made, route
