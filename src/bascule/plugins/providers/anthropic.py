"""Anthropic's messages API: taken natively, or reached with OpenAI's chat format, which is translated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, Final, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from bascule.core.anthropic_blocks import without_foreign_thoughts
from bascule.core.anthropic_wire import MessageEvents, text_of, to_completion, to_messages, usage_of
from bascule.core.calls import Call
from bascule.core.chat import ANTHROPIC_MESSAGES, OPENAI_CHAT, ChatChunk, ChatRequest, ChatResponse, ChatStream
from bascule.core.errors import InvalidRequest, UpstreamError, UpstreamInvalid, UpstreamRejected, UpstreamUnavailable
from bascule.core.http import HttpClient, HttpReply
from bascule.core.json_splice import with_model
from bascule.core.resources import Resources
from bascule.core.sse import SseParser
from bascule.core.upstream import MAX_ERROR_BYTES, status_error

NAME: Final = "anthropic"
DRAIN_S: Final = 0.02
BETAS_NOTE: Final = "not_supported:anthropic-beta"
_GOOD: Final = frozenset({"end_turn", "stop_sequence", "tool_use"})


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str = Field("https://api.anthropic.com/v1", description="Up to and including the version.")
    api_key: str | None = Field(None, description='A reference: "env:NAME" or "file:PATH".')
    version: str = Field("2023-06-01", description="Sent as anthropic-version.")
    max_tokens: int = Field(
        4096, gt=0, description="Longest answer where an OpenAI request does not say; required there."
    )
    max_reply_bytes: int = Field(20_000_000, gt=0, description="Largest answer accepted.")
    betas: tuple[str, ...] = Field(
        (), description='Names callers may send as anthropic-beta; others are left out. "*" allows all of them.'
    )
    thinking: Literal["adaptive", "budget"] = Field(
        "adaptive",
        description="How an OpenAI request's reasoning_effort is asked for: as effort with adaptive thinking, or as a budget "
        "of thinking tokens for older models.",
    )


class AnthropicProvider:
    wires = frozenset({ANTHROPIC_MESSAGES, OPENAI_CHAT})

    def __init__(self, settings: Settings, http: HttpClient, key: str) -> None:
        self._url = settings.base_url.rstrip("/") + "/messages"
        self._http = http
        self._key = key
        self._max_tokens = settings.max_tokens
        self._thinking = settings.thinking
        self._betas = frozenset(settings.betas)
        self._max_reply_bytes = settings.max_reply_bytes
        self._headers = {"content-type": "application/json", "anthropic-version": settings.version}
        if key:
            self._headers["x-api-key"] = key

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        reply = await self._post(request, call)
        try:
            body = await reply.read(self._max_reply_bytes)
        finally:
            await reply.aclose()
        try:
            message = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            message = None
        if not isinstance(message, dict) or not isinstance(message.get("content"), list):
            raise UpstreamInvalid("The model's provider sent an answer that is not a message.")
        if request.wire == ANTHROPIC_MESSAGES:
            text, finish = text_of(message), message.get("stop_reason")
        else:
            completion, text, finish = to_completion(message, int(call.started_at_s))
            body = msgspec.json.encode(completion)
        tools = any(block.get("type") == "tool_use" for block in message["content"])
        return ChatResponse(
            wire=request.wire,
            body=body,
            model=request.model,
            provider=NAME,
            usage=usage_of(message.get("usage")),
            text=text,
            finish=finish,
            complete=message.get("stop_reason") in _GOOD and (bool(text.strip()) or tools),
        )

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        reply = await self._post(request, call)
        chunks = self._chunks(reply, request, call)
        try:
            if "text/event-stream" not in reply.headers.get("content-type", ""):
                raise UpstreamInvalid("The model's provider did not answer with a stream.")
            first = await anext(chunks)
        except BaseException:
            await chunks.aclose()
            await reply.aclose()
            raise

        async def close() -> None:
            await chunks.aclose()
            await reply.aclose()

        return ChatStream(_after(first, chunks), wire=request.wire, model=request.model, provider=NAME, close=close)

    async def _post(self, request: ChatRequest, call: Call) -> HttpReply:
        headers = self._with_betas(request, call) if request.betas else self._headers
        reply = await self._http.post(self._url, headers, self._outgoing(request, call), call.deadline.check())
        if reply.status == 200:
            return reply
        try:
            refused = await reply.read(MAX_ERROR_BYTES)
        except UpstreamError:
            refused = b""
        finally:
            await reply.aclose()
        error = status_error(
            reply.status,
            reply.headers.get("retry-after"),
            refused,
            provider=NAME,
            wire=ANTHROPIC_MESSAGES,
            secret=self._key,
        )
        raise _in_words_of(request, error)

    def _with_betas(self, request: ChatRequest, call: Call) -> Mapping[str, str]:
        """The operator's headers and those of the caller's betas that the operator allows."""
        allowed = [name for name in request.betas if "*" in self._betas or name in self._betas]
        if len(allowed) < len(request.betas) and BETAS_NOTE not in call.degraded:
            call.degraded.append(BETAS_NOTE)
        return {**self._headers, "anthropic-beta": ",".join(allowed)} if allowed else self._headers

    def _outgoing(self, request: ChatRequest, call: Call) -> bytes:
        if request.wire == ANTHROPIC_MESSAGES:
            return with_model(*without_foreign_thoughts(request.body, request.view), request.model)
        if request.wire != OPENAI_CHAT:
            raise InvalidRequest("This model does not take requests in this format.", param="model")
        body, dropped = to_messages(request.view, request.model, self._max_tokens, thinking=self._thinking)
        notes = [f"not_supported:{name[:40]}" for name in dropped[:10]]
        call.degraded.extend(note for note in notes if note not in call.degraded)
        return msgspec.json.encode(body)

    async def _chunks(self, reply: HttpReply, request: ChatRequest, call: Call) -> AsyncGenerator[ChatChunk]:
        options = request.view.get("stream_options")
        show = isinstance(options, dict) and options.get("include_usage") is True
        parser, events = SseParser(), MessageEvents(int(call.started_at_s), show_usage=show)
        native = request.wire == ANTHROPIC_MESSAGES
        async with aclosing(reply.chunks()) as pieces:
            async for piece in pieces:
                for name, data in parser.feed(piece):
                    for chunk in [events.read(name, data)] if native else events.translate(data):
                        if chunk.last:
                            await _drain(pieces)
                        yield chunk
                        if chunk.last:
                            return
        raise UpstreamUnavailable("The model's answer was cut off.")


def _in_words_of(request: ChatRequest, error: UpstreamError) -> UpstreamError:
    """A refusal's body in the caller's format."""
    if not isinstance(error, UpstreamRejected) or request.wire == ANTHROPIC_MESSAGES:
        return error
    found: Any = None
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = msgspec.json.decode(error.body)
    inner = found.get("error") if isinstance(found, dict) else None
    said = inner if isinstance(inner, dict) else {}
    told = {"message": str(said.get("message") or error.message), "type": str(said.get("type") or error.kind)}
    body = msgspec.json.encode({"error": told | {"param": None, "code": error.code}})
    return UpstreamRejected(error.message, provider=NAME, status=error.http_status, body=body, wire=request.wire)


async def _drain(pieces: AsyncIterator[bytes]) -> None:
    """Read to the end of a body whose last event was there, so that its connection can serve again; not worth a wait."""
    with suppress(TimeoutError, UpstreamError):
        async with asyncio.timeout(DRAIN_S):
            async for _ in pieces:
                pass


async def _after(first: ChatChunk, chunks: AsyncGenerator[ChatChunk]) -> AsyncIterator[ChatChunk]:
    async with aclosing(chunks):
        yield first
        async for chunk in chunks:
            yield chunk


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[AnthropicProvider]:
    key = resources.secret(settings.api_key) if settings.api_key else ""
    yield AnthropicProvider(settings, resources.http, key)
