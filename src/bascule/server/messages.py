"""Anthropic's messages over HTTP: POST /v1/messages through the same layers as chat completions, and the counting of tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bascule.core.chat import ANTHROPIC_MESSAGES, ChatRequest
from bascule.core.errors import InvalidRequest, NotFound
from bascule.core.principals import SCOPE_CHAT, Principal
from bascule.gateway.estimate import Estimates
from bascule.server.credentials import require
from bascule.server.exchange import Exchange, Header, Reply, Watch, decode_object, watched
from bascule.server.model_calls import RAG_PREFIX, call_headers, open_call, pass_on, wants_stream
from bascule.server.rag_formats import answer_request

if TYPE_CHECKING:
    from bascule.bootstrap import App

MAX_BETAS: Final = 20
_MAX_BETA_CHARS: Final = 100


async def create(app: App, exchange: Exchange, principal: Principal) -> None:
    """POST /v1/messages: a model of the gateway, or documents."""
    body, view, model = await _read(app, exchange)
    stream = wants_stream(view)
    if model.startswith(RAG_PREFIX):
        asked = ChatRequest(wire=ANTHROPIC_MESSAGES, body=body, view=view, model=model, stream=stream)
        await answer_request(app, exchange, principal, asked, _named(exchange))
        return
    require(principal, SCOPE_CHAT)
    call = open_call(app, exchange, principal, model)
    header = exchange.headers.get(b"anthropic-beta")
    request = ChatRequest(
        wire=ANTHROPIC_MESSAGES,
        body=body,
        view=view,
        model=model,
        stream=stream,
        betas=_betas(header.decode("latin-1")) if header else (),
    )
    if stream:
        with Watch(exchange):
            await pass_on(exchange, await app.gateway.stream(request, call), call)
        return
    response = await watched(exchange, app.gateway.chat(request, call))
    await exchange.reply(Reply(200, response.body, headers=(_named(exchange), *call_headers(call))))


async def count_tokens(app: App, exchange: Exchange, principal: Principal) -> None:
    """POST /v1/messages/count_tokens: an estimate, made here; no vendor is asked and nothing is charged."""
    require(principal, SCOPE_CHAT)
    body, view, model = await _read(app, exchange)
    route = None if model.startswith(RAG_PREFIX) else app.gateway.route(model)
    if route is None:
        raise NotFound("There is no model of this name. GET /v1/models lists them.", param="model")
    request = ChatRequest(wire=ANTHROPIC_MESSAGES, body=body, view=view, model=model)
    tokens = Estimates({model: route}, 0).request_tokens(request, 0.0)
    await exchange.reply(Reply(200, msgspec.json.encode({"input_tokens": tokens}), headers=(_named(exchange),)))


async def _read(app: App, exchange: Exchange) -> tuple[bytes, Mapping[str, Any], str]:
    body = await exchange.body(app.settings.server.max_body_bytes)
    view = decode_object(body)
    model = view.get("model")
    if not isinstance(model, str) or not model or len(model) > 200:
        raise InvalidRequest("Give the name of a model (GET /v1/models lists them).", param="model")
    if not isinstance(view.get("messages"), list) or not view["messages"]:
        raise InvalidRequest("Give at least one message.", param="messages")
    return body, view, model


def _betas(header: str) -> tuple[str, ...]:
    """The names in the caller's `anthropic-beta`: printable, without spaces, and not too many. Raises InvalidRequest."""
    names = tuple(dict.fromkeys(name for part in header.split(",") if (name := part.strip())))
    if len(names) > MAX_BETAS or any(len(n) > _MAX_BETA_CHARS or not n.isprintable() or " " in n for n in names):
        raise InvalidRequest("The header anthropic-beta is not a list of names.")
    return names


def _named(exchange: Exchange) -> Header:
    """Anthropic's SDKs read the request's id from this header."""
    return (b"request-id", exchange.request_id.encode())
