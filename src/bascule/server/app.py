"""The ASGI application: hot routes first, then the table of routes, then the console; the one edge that catches all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from starlette.routing import compile_path
from starlette.types import Receive, Scope, Send

from bascule.core.errors import (
    AuthenticationFailed,
    BasculeError,
    NotFound,
    RequestError,
    ServerStopping,
    StorageError,
)
from bascule.core.principals import SCOPE_METRICS, Principal
from bascule.server import messages, model_calls, probes, responses
from bascule.server.console.pages import Console
from bascule.server.credentials import authenticate, authorization, require
from bascule.server.exchange import ClientGone, Exchange, Header, Reply, event
from bascule.server.failures import (
    report,
    to_anthropic_event,
    to_anthropic_reply,
    to_event,
    to_reply,
    to_scim_reply,
)
from bascule.server.in_flight import InFlight, no_place, no_room
from bascule.server.metrics import HttpMetrics
from bascule.server.model_calls import call_headers
from bascule.server.openapi import document
from bascule.server.repeats import Headers, Repeats
from bascule.server.route import Endpoint
from bascule.server.table import ROUTES
from bascule.server.wrong_keys import WrongKeys

if TYPE_CHECKING:
    from bascule.bootstrap import App

HotHandler = Callable[["App", Exchange, Principal], Awaitable[None]]
OpenHandler = Callable[[Exchange], Awaitable[Reply]]

_HOT: Final[dict[str, tuple[str, HotHandler]]] = {
    "/v1/chat/completions": ("POST", model_calls.chat),
    "/v1/embeddings": ("POST", model_calls.embeddings),
    "/v1/models": ("GET", model_calls.models),
    "/v1/responses": ("POST", responses.create),
    "/v1/messages": ("POST", messages.create),
    "/v1/messages/count_tokens": ("POST", messages.count_tokens),
}
_ANTHROPIC: Final = "/v1/messages"  # errors on its paths are told in its words
_SCIM: Final = "/scim/"  # and on its own, in its own
_GONE_STATUS: Final = 499  # nginx's number for a client that left; only in the metrics


class MethodNotAllowed(RequestError):
    code = "method_not_allowed"
    http_status = 405

    def __init__(self, allowed: str) -> None:
        super().__init__(f"This path takes {allowed}.")
        self.allowed = allowed


def create_app(app: App) -> Application:
    """The ASGI application over an open App. It opens and closes nothing itself."""
    return Application(app)


class Application:
    """`drain()` makes it not ready and its connections short-lived; requests are still answered. `running` counts them."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._console = Console(app, self._is_draining)
        self._ready = probes.Readiness(app)
        self._openapi = document()
        self._routes = [
            (compile_path(route.path)[0], route, Endpoint(app, route, self._is_draining)) for route in ROUTES
        ]
        self._open: dict[str, OpenHandler] = {
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
            "/openapi.json": self._describe,
        }
        self.metrics = HttpMetrics()
        self._most_running = app.settings.server.max_requests
        self._in_flight = InFlight(app.settings.server.max_bodies_bytes)
        self._wrong_keys = WrongKeys()
        self._repeats = Repeats(app, self.metrics.observe)
        for note in app.degraded:
            self.metrics.degraded.labels(note.partition(":")[0]).set(1)
        self.draining = False
        self.running = 0

    def drain(self) -> None:
        self.draining = True

    def _is_draining(self) -> bool:
        return self.draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await _lifespan(receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1000})
        exchange = Exchange(scope, receive, send, last=self.draining, in_flight=self._in_flight)
        began_s = time.perf_counter()
        self.running += 1
        label = "other"
        try:
            label = await self._serve(exchange)
        finally:
            self.running -= 1
            exchange.forget()
            self.metrics.observe(label, exchange.status or _GONE_STATUS, time.perf_counter() - began_s)
        if exchange.known is not None:
            self._repeats.learn(exchange, exchange.known)

    def answer(self, data: bytes, default_headers: Headers) -> bytes | None:
        """The whole reply to a request that is exactly `data`, where it can be given at once; else it comes by `__call__`."""
        return None if self.draining else self._repeats.answer(data, default_headers)

    async def _serve(self, exchange: Exchange) -> str:
        """Route, answer, and turn whatever goes wrong into an answer. Returns the route's label."""
        full = self.running > self._most_running and exchange.scope["path"] not in self._open
        label, serve = ("other", _refuse(no_place())) if full else self._find(exchange)
        try:
            await serve
        except ClientGone:
            exchange.status = _GONE_STATUS
        except asyncio.CancelledError:
            # The server's own stop: uvicorn cancels what did not finish while draining.
            await self._fail(exchange, ServerStopping("The server is being stopped. Try again."))
        except Exception as error:  # noqa: BLE001 the edge: a caller never sees a traceback
            await self._fail(exchange, error)
        return label

    async def _slowed(self, exchange: Exchange, error: AuthenticationFailed) -> BasculeError:
        """What a wrong key is told in the end."""
        try:
            await self._wrong_keys.hold(exchange.client_host)
        except BasculeError as refused:
            return refused
        return error

    async def _fail(self, exchange: Exchange, error: Exception) -> None:
        if isinstance(error, MemoryError):
            error = no_room()
        if isinstance(error, AuthenticationFailed) and not self.draining and authorization(exchange.headers):
            error = await self._slowed(exchange, error)
        report(error, exchange.request_id)
        if not exchange.started:
            headers = call_headers(exchange.call) if exchange.call is not None else ()
            if isinstance(error, MethodNotAllowed):
                headers = ((b"allow", error.allowed.encode()), *headers)
            await exchange.reply(self._told(exchange, error, headers))
        elif not exchange.complete:
            anthropic = exchange.scope["path"].startswith(_ANTHROPIC)
            data = to_anthropic_event(error, exchange.request_id) if anthropic else to_event(error)
            await exchange.push(event(data, "error"))
            await exchange.end_events()

    @staticmethod
    def _told(exchange: Exchange, error: Exception, headers: tuple[Header, ...]) -> Reply:
        """In the words of whoever asks: Anthropic's, SCIM's, or OpenAI's."""
        path = exchange.scope["path"]
        if path.startswith(_ANTHROPIC):
            return to_anthropic_reply(error, exchange.request_id, headers)
        return to_scim_reply(error, headers) if path.startswith(_SCIM) else to_reply(error, headers)

    def _find(self, exchange: Exchange) -> tuple[str, Awaitable[None]]:
        path, method = exchange.scope["path"], exchange.scope["method"]
        hot = _HOT.get(path)
        if hot is not None:
            return path, self._hot(exchange, *hot)
        wanted = "GET" if method == "HEAD" else method
        if path in self._open:
            return path, self._opened(exchange, path, wanted)
        allowed = []
        for pattern, route, endpoint in self._routes:
            found = pattern.match(path)
            if found is None:
                continue
            if route.method == wanted:
                return route.path, endpoint(exchange, found.groupdict().get("id", ""))
            allowed.append(route.method)
        if allowed:
            return "other", _refuse(MethodNotAllowed(", ".join(allowed)))
        if path.startswith(_SCIM):
            return "other", _refuse(NotFound("There is no such route."))
        if path.startswith("/v1/"):
            return "other", self._other_v1(exchange, path, wanted)
        return "console", self._console.serve(exchange, path, wanted)

    async def _hot(self, exchange: Exchange, method: str, handler: HotHandler) -> None:
        if exchange.scope["method"] != method:
            raise MethodNotAllowed(method)
        await handler(self._app, exchange, await authenticate(self._app, exchange))

    async def _other_v1(self, exchange: Exchange, path: str, method: str) -> None:
        """One model (`/v1/models/NAME`, where NAME may hold slashes), or nothing."""
        if method == "GET" and path.startswith("/v1/models/"):
            principal = await authenticate(self._app, exchange)
            await exchange.reply(await model_calls.one_model(self._app, principal, path[len("/v1/models/") :]))
            return
        raise NotFound("There is no such route.")

    async def _opened(self, exchange: Exchange, path: str, method: str) -> None:
        if method != "GET":
            raise MethodNotAllowed("GET")
        await exchange.reply(await self._open[path](exchange))

    async def _livez(self, exchange: Exchange) -> Reply:
        return probes.alive()

    async def _readyz(self, exchange: Exchange) -> Reply:
        return await self._ready.reply(draining=self.draining)

    async def _metrics(self, exchange: Exchange) -> Reply:
        require(await authenticate(self._app, exchange), SCOPE_METRICS)
        self.metrics.running.set(self.running)
        with suppress(StorageError):  # figures are wanted most when something is down
            self.metrics.oldest_unpurged.set(await self._app.catalogue.oldest_unpurged_s())
        return Reply(200, self.metrics.text(), b"text/plain; version=0.0.4; charset=utf-8")

    async def _describe(self, exchange: Exchange) -> Reply:
        return Reply(200, self._openapi)


async def _refuse(error: BasculeError) -> None:
    raise error


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
