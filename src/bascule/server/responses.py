"""POST /v1/responses, OpenAI's newer format: through the same layers as chat completions. No response is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

import msgspec

from bascule.core.calls import CacheDirectives, Call
from bascule.core.chat import OPENAI_RESPONSES, ChatChunk, ChatRequest, ChatStream
from bascule.core.errors import BasculeError, InvalidRequest, NotFound
from bascule.core.principals import SCOPE_CHAT, Principal
from bascule.server.credentials import require
from bascule.server.exchange import Exchange, Reply, Watch, decode_object, event, watched
from bascule.server.failures import report, to_body
from bascule.server.model_calls import RAG_PREFIX, call_headers, open_call, pass_on, wants_stream
from bascule.server.rag_formats import answer_request
from bascule.server.route import Inquiry

if TYPE_CHECKING:
    from bascule.bootstrap import App

NOT_KEPT: Final = (
    "Responses are not kept: `create` answers with all there is, and every request brings its conversation."
)
# A repeated request does not do again what it did at the vendor.
_LEAVES_TRACES: Final = ("conversation", "background")


async def create(app: App, exchange: Exchange, principal: Principal) -> None:
    """POST /v1/responses: a model of the gateway, or documents."""
    body = await exchange.body(app.settings.server.max_body_bytes)
    view = decode_object(body)
    model = view.get("model")
    if not isinstance(model, str) or not model or len(model) > 200:
        raise InvalidRequest("Give the name of a model (GET /v1/models lists them).", param="model")
    stream = wants_stream(view)
    if model.startswith(RAG_PREFIX):
        asked = ChatRequest(wire=OPENAI_RESPONSES, body=body, view=view, model=model, stream=stream)
        await answer_request(app, exchange, principal, asked)
        return
    require(principal, SCOPE_CHAT)
    call = open_call(app, exchange, principal, model)
    if any(view.get(field) for field in _LEAVES_TRACES):
        call.directives = CacheDirectives(no_store=True)
    request = ChatRequest(wire=OPENAI_RESPONSES, body=body, view=view, model=model, stream=stream)
    if stream:
        with Watch(exchange):
            await _pass_on(exchange, await app.gateway.stream(request, call), call)
        return
    response = await watched(exchange, app.gateway.chat(request, call))
    await exchange.reply(Reply(200, response.body, headers=call_headers(call)))
    if call.cache == "HIT":
        exchange.known = app.gateway.learn(request, call)


async def retrieve_response(inquiry: Inquiry) -> Reply:
    """There is none: responses are not kept."""
    raise NotFound(NOT_KEPT)


async def delete_response(inquiry: Inquiry) -> Reply:
    """There is none: responses are not kept."""
    raise NotFound(NOT_KEPT)


async def _pass_on(exchange: Exchange, stream: ChatStream, call: Call) -> None:
    """As `pass_on`, but an error in the middle is told as this format tells it, with the number that is next."""
    counted = _Counted(stream)
    numbered = ChatStream(
        counted.chunks(), wire=stream.wire, model=stream.model, provider=stream.provider, close=stream.aclose
    )
    try:
        await pass_on(exchange, numbered, call)
    except BasculeError as error:
        if not exchange.started:
            raise
        report(error, exchange.request_id)
        await exchange.push(event(_failure(error, counted.seen), "error"))
        await exchange.end_events()


class _Counted:
    """Counts the events that pass."""

    __slots__ = ("_stream", "seen")

    def __init__(self, stream: ChatStream) -> None:
        self._stream = stream
        self.seen = 0

    async def chunks(self) -> AsyncIterator[ChatChunk]:
        async for chunk in self._stream:
            self.seen += 1
            yield chunk


def _failure(error: BasculeError, number: int) -> bytes:
    """The format's `error` event, which has its fields at the top; the SDKs raise where they stand under `error` too."""
    told = to_body(error).error
    top = {"code": told.code, "message": told.message, "param": told.param}
    return msgspec.json.encode({"type": "error", "sequence_number": number, **top, "error": told})
