"""The hot routes: chat completions, embeddings and models in OpenAI's format, with nothing between ASGI and the gateway."""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec

from bascule.core.calls import Call
from bascule.core.chat import OPENAI_CHAT, ChatRequest, ChatStream
from bascule.core.deadlines import Deadline
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse
from bascule.core.errors import InvalidRequest, NotFound, StorageError, UpstreamUnavailable
from bascule.core.principals import SCOPE_ASK, SCOPE_CHAT, Principal
from bascule.gateway.alarm import Alarm
from bascule.gateway.token_numbers import text_of_tokens
from bascule.server.bodies import decode
from bascule.server.cache_wishes import cache_wishes, wished_timeout_s
from bascule.server.credentials import require
from bascule.server.exchange import ClientGone, Exchange, Header, Reply, Watch, decode_object, event, watched
from bascule.server.failures import header_value
from bascule.server.rag_chat import answer_chat

if TYPE_CHECKING:
    from bascule.bootstrap import App

RAG_PREFIX: Final = "rag/"
_STALL_S: Final = 30.0  # a client that reads nothing for this long past the deadline is gone


class EmbeddingsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """OpenAI's embeddings request."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    input: str | list[Any]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=65_536)] | None = None
    user: str | None = None


class ModelCard(msgspec.Struct, frozen=True):
    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = "bascule"


class ModelList(msgspec.Struct, frozen=True):
    data: list[ModelCard]
    object: str = "list"


async def chat(app: App, exchange: Exchange, principal: Principal) -> None:
    """POST /v1/chat/completions: a model of the gateway, or documents."""
    body = await exchange.body(app.settings.server.max_body_bytes)
    view = decode_object(body)
    model = _model(view)
    if model.startswith(RAG_PREFIX):
        await answer_chat(app, exchange, principal, view, model[len(RAG_PREFIX) :])
        return
    require(principal, SCOPE_CHAT)
    stream = wants_stream(view)
    call = open_call(app, exchange, principal, model)
    request = ChatRequest(wire=OPENAI_CHAT, body=body, view=view, model=model, stream=stream)
    if stream:
        with Watch(exchange):
            await pass_on(exchange, await app.gateway.stream(request, call), call)
        return
    response = await watched(exchange, app.gateway.chat(request, call))
    await exchange.reply(Reply(200, response.body, headers=call_headers(call)))
    if call.cache == "HIT":
        exchange.known = app.gateway.learn(request, call)


async def pass_on(exchange: Exchange, stream: ChatStream, call: Call) -> None:
    """Events as they come. One that ends without the format's own end is an error, never a clean end."""
    finished = False
    try:
        await exchange.begin_events(call_headers(call))
        with Alarm(call.deadline.left_s() + _STALL_S):
            async for chunk in stream:
                await exchange.push(event(chunk.data, chunk.event))
                finished = finished or chunk.last
    except TimeoutError:
        raise ClientGone from None
    finally:
        await stream.aclose()
    if not finished:
        raise UpstreamUnavailable("The model's answer was cut off.", provider=stream.provider)
    await exchange.end_events()


async def embeddings(app: App, exchange: Exchange, principal: Principal) -> None:
    """POST /v1/embeddings."""
    require(principal, SCOPE_CHAT)
    body = decode(await exchange.body(app.settings.server.max_body_bytes), EmbeddingsBody)
    call = open_call(app, exchange, principal, body.model)
    request = EmbeddingRequest(
        model=body.model, texts=_texts(body.input), dimensions=body.dimensions, user=body.user or ""
    )
    response = await watched(exchange, app.gateway.embed(request, call))
    await exchange.reply(Reply(200, _embedded(response, body), headers=call_headers(call)))


async def models(app: App, exchange: Exchange, principal: Principal) -> None:
    """GET /v1/models: local state only, so that it answers while every upstream is down."""
    found = ModelList([ModelCard(name) for name in await model_names(app, principal)])
    await exchange.reply(Reply(200, msgspec.json.encode(found)))


async def one_model(app: App, principal: Principal, name: str) -> Reply:
    """GET /v1/models/{name}. Raises NotFound."""
    if name not in await model_names(app, principal):
        raise NotFound("There is no such model (GET /v1/models lists them).", param="model")
    return Reply(200, msgspec.json.encode(ModelCard(name)))


async def model_names(app: App, principal: Principal) -> list[str]:
    names = list(app.gateway.models())
    if app.questions is not None and principal.can(SCOPE_ASK):
        # Chat clients keep working when the catalogue does not answer.
        with suppress(StorageError):
            names += [RAG_PREFIX + c.name for c in await app.catalogue.collections(principal)]
    return names


def open_call(app: App, exchange: Exchange, principal: Principal, model: str) -> Call:
    """The Call of this request, under the model's own deadline, with the request's id and the caller's cache wishes."""
    timeout_s = wished_timeout_s(exchange, app.settings.timeout_s(app.settings.models.get(model)))
    call = Call(
        principal,
        Deadline.after(timeout_s),
        id=exchange.request_id,
        directives=cache_wishes(exchange),
    )
    traceparent = exchange.headers.get(b"traceparent")
    if traceparent is not None:
        call.traceparent = traceparent.decode("latin-1")
    exchange.call = call
    return call


def call_headers(call: Call) -> tuple[Header, ...]:
    found: list[Header] = [(b"x-bascule-cache", call.cache.encode())]
    if call.cache_reason:
        found.append((b"x-bascule-cache-reason", header_value(call.cache_reason)))
    if call.age_s is not None:
        found.append((b"age", b"%d" % call.age_s))
    if call.degraded:
        found.append((b"x-bascule-degraded", header_value(", ".join(call.degraded))))
    return tuple(found)


def _model(view: Mapping[str, Any]) -> str:
    model = view.get("model")
    if not isinstance(model, str) or not model or len(model) > 200:
        raise InvalidRequest("Give the name of a model (GET /v1/models lists them).", param="model")
    if not isinstance(view.get("messages"), list) or not view["messages"]:
        raise InvalidRequest("Give at least one message.", param="messages")
    return model


def wants_stream(view: Mapping[str, Any]) -> bool:
    stream = view.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise InvalidRequest("`stream` is true or false.", param="stream")
    return bool(stream)


def _texts(given: str | list[Any]) -> tuple[str, ...]:
    # One text may also come as its token numbers.
    texts = [given] if isinstance(given, str) or (given and isinstance(given[0], int)) else given
    if not texts or len(texts) > 2048:
        raise InvalidRequest("`input` takes 1 to 2,048 texts.", param="input")
    found = [text_of_tokens(text) if isinstance(text, list) else text for text in texts]
    if not all(isinstance(text, str) and text for text in found):
        raise InvalidRequest("`input` takes texts that are not empty, or their token numbers.", param="input")
    return tuple(str(text) for text in found)


def _embedded(response: EmbeddingResponse, body: EmbeddingsBody) -> bytes:
    encode = _as_base64 if body.encoding_format == "base64" else _as_floats
    data = [{"object": "embedding", "index": i, "embedding": encode(v)} for i, v in enumerate(response.vectors)]
    tokens = response.usage.input_tokens
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return msgspec.json.encode({"object": "list", "data": data, "model": body.model, "usage": usage})


def _as_base64(vector: bytes) -> str:
    return base64.b64encode(vector).decode()


def _as_floats(vector: bytes) -> list[float]:
    values = array("f", vector)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tolist()
