"""Any vendor or server that speaks OpenAI's chat completions and embeddings under a base URL of its own."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import math
from array import array
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, Final

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from bascule.core.calls import Call, Usage
from bascule.core.chat import OPENAI_CHAT, ChatChunk, ChatRequest, ChatResponse, ChatStream
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse
from bascule.core.errors import InvalidRequest, UpstreamError, UpstreamInvalid, UpstreamUnavailable
from bascule.core.http import HttpClient, HttpReply
from bascule.core.json_splice import with_member, with_model
from bascule.core.resources import Resources
from bascule.core.sse import SseParser
from bascule.core.upstream import MAX_ERROR_BYTES, status_error

NAME: Final = "openai"
DRAIN_S: Final = 0.02
_USAGE_ASKED: Final = {"include_usage": True}
_GOOD: Final = frozenset({"stop", "tool_calls", "function_call"})


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str = Field(description="Up to and including the version, e.g. https://api.openai.com/v1.")
    api_key: str | None = Field(None, description='A reference: "env:NAME" or "file:PATH".')
    organization: str | None = Field(None, description="Sent as OpenAI-Organization.")
    max_reply_bytes: int = Field(20_000_000, gt=0, description="Largest answer accepted.")
    stream_usage: bool = Field(True, description="Ask for usage in streams; off for servers that refuse the option.")


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: dict[str, Any] | None = None

    def plain(self) -> Usage:
        cached = (self.prompt_tokens_details or {}).get("cached_tokens")
        return Usage(
            input_tokens=self.prompt_tokens,
            output_tokens=self.completion_tokens,
            cached_tokens=cached if isinstance(cached, int) else 0,
        )


class _Message(msgspec.Struct):
    content: Any = None
    tool_calls: list[Any] | None = None
    function_call: Any = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


class _ChunkChoice(msgspec.Struct):
    delta: _Message | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_ChunkChoice] = []
    usage: _Usage | None = None
    error: Any = None


class _Embedding(msgspec.Struct):
    embedding: str | list[float]
    index: int = -1


class _Embeddings(msgspec.Struct):
    data: list[_Embedding]
    usage: _Usage | None = None


_decode_completion = msgspec.json.Decoder(_Completion).decode
_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_embeddings = msgspec.json.Decoder(_Embeddings).decode


class OpenaiProvider:
    def __init__(self, settings: Settings, http: HttpClient, key: str) -> None:
        base = settings.base_url.rstrip("/")
        self._chat_url = base + "/chat/completions"
        self._embed_url = base + "/embeddings"
        self._base = base
        self._http = http
        self._key = key
        self._max_reply_bytes = settings.max_reply_bytes
        self._stream_usage = settings.stream_usage
        self._headers = {"content-type": "application/json"}
        if key:
            self._headers["authorization"] = f"Bearer {key}"
        if settings.organization:
            self._headers["openai-organization"] = settings.organization

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        reply = await self._post(self._chat_url, _outgoing(request), call, request.wire)
        try:
            body = await reply.read(self._max_reply_bytes)
        finally:
            await reply.aclose()
        try:
            completion = _decode_completion(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise UpstreamInvalid("The model's provider sent an answer that is not a chat completion.") from None
        if not completion.choices:
            raise UpstreamInvalid("The model's provider sent an answer without choices.")
        first = completion.choices[0]
        return ChatResponse(
            wire=OPENAI_CHAT,
            body=body,
            model=request.model,
            provider=NAME,
            usage=completion.usage.plain() if completion.usage else Usage(estimated=True),
            text=_text(first.message.content),
            finish=first.finish_reason,
            complete=all(_is_good(choice) for choice in completion.choices),
        )

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        body, hide = self._streaming(request)
        reply = await self._post(self._chat_url, body, call, request.wire)
        chunks = self._chunks(reply, hide)
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

        return ChatStream(_after(first, chunks), wire=OPENAI_CHAT, model=request.model, provider=NAME, close=close)

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        asked: dict[str, Any] = {"model": request.model, "input": request.texts, "encoding_format": "base64"}
        if request.dimensions is not None:
            asked["dimensions"] = request.dimensions
        reply = await self._post(self._embed_url, msgspec.json.encode(asked), call, "openai.embeddings")
        try:
            body = await reply.read(self._max_reply_bytes)
        finally:
            await reply.aclose()
        vectors, usage = _vectors(body, len(request.texts))
        dimension = len(vectors[0]) // 4
        source = f"{self._base}\0{request.model}\0{dimension}"
        return EmbeddingResponse(
            vectors=vectors,
            dimension=dimension,
            model=request.model,
            provider=NAME,
            fingerprint="openai:" + hashlib.sha256(source.encode()).hexdigest()[:16],
            usage=usage,
        )

    async def _post(self, url: str, body: bytes, call: Call, wire: str) -> HttpReply:
        reply = await self._http.post(url, self._headers, body, call.deadline.check())
        if reply.status == 200:
            return reply
        try:
            refused = await reply.read(MAX_ERROR_BYTES)
        except UpstreamError:
            refused = b""
        finally:
            await reply.aclose()
        retry_after = reply.headers.get("retry-after")
        raise status_error(reply.status, retry_after, refused, provider=NAME, wire=wire, secret=self._key)

    def _streaming(self, request: ChatRequest) -> tuple[bytes, bool]:
        """The body, and whether the usage event that it asks for is hidden from the caller, who did not."""
        body = _outgoing(request)
        options = request.view.get("stream_options")
        if not self._stream_usage or (isinstance(options, dict) and options.get("include_usage") is True):
            return body, False
        if isinstance(options, dict):
            return with_member(body, request.view, "stream_options", {**options, **_USAGE_ASKED}), True
        return with_member(body, request.view, "stream_options", _USAGE_ASKED), True

    async def _chunks(self, reply: HttpReply, hide: bool) -> AsyncGenerator[ChatChunk]:
        parser, hidden = SseParser(), None
        async with aclosing(reply.chunks()) as pieces:
            async for piece in pieces:
                for event, data in parser.feed(piece):
                    if data == b"[DONE]":
                        await _drain(pieces)
                        yield ChatChunk(data, event, usage=hidden, last=True)
                        return
                    chunk, choices = _parse_chunk(data, event)
                    if hide and choices == 0 and chunk.usage is not None:
                        hidden = chunk.usage
                    else:
                        yield chunk
        raise UpstreamUnavailable("The model's answer was cut off.")


async def _drain(pieces: AsyncIterator[bytes]) -> None:
    """Read to the end of a body whose last event was there, so that its connection can serve again; not worth a wait."""
    with suppress(TimeoutError, UpstreamError):
        async with asyncio.timeout(DRAIN_S):
            async for _ in pieces:
                pass


def _outgoing(request: ChatRequest) -> bytes:
    if request.wire != OPENAI_CHAT:
        raise InvalidRequest("This model does not take requests in this format.", param="model")
    return with_model(request.body, request.view, request.model)


async def _after(first: ChatChunk, chunks: AsyncGenerator[ChatChunk]) -> AsyncIterator[ChatChunk]:
    async with aclosing(chunks):
        yield first
        async for chunk in chunks:
            yield chunk


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(p["text"] for p in content if isinstance(p, dict) and isinstance(p.get("text"), str))
    return ""


def _is_good(choice: _Choice) -> bool:
    message = choice.message
    if choice.finish_reason not in _GOOD or message.refusal:
        return False
    return bool(_text(message.content).strip()) or bool(message.tool_calls) or message.function_call is not None


def _parse_chunk(data: bytes, event: str) -> tuple[ChatChunk, int]:
    """The chunk and how many choices it carries. Raises UpstreamUnavailable for an error the vendor sends mid-stream."""
    try:
        chunk = _decode_chunk(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise UpstreamInvalid("The model's provider sent an event that is not a chat chunk.") from None
    if chunk.error is not None or event == "error":
        raise UpstreamUnavailable("The model's provider reported an error in the middle of its answer.")
    text, finish = "", None
    for choice in chunk.choices:
        text += _text(choice.delta.content) if choice.delta else ""
        if choice.delta is not None and choice.delta.refusal:
            finish = "refusal"
        finish = finish or choice.finish_reason
    usage = chunk.usage.plain() if chunk.usage is not None else None
    return ChatChunk(data, event, text, finish, usage), len(chunk.choices)


def _vectors(body: bytes, count: int) -> tuple[tuple[bytes, ...], Usage]:
    try:
        answer = _decode_embeddings(body)
        data = sorted(answer.data, key=lambda e: e.index) if all(e.index >= 0 for e in answer.data) else answer.data
        vectors = tuple(_unit(_floats(entry.embedding)) for entry in data)
    except (msgspec.DecodeError, UnicodeDecodeError, binascii.Error, ValueError, OverflowError):
        raise UpstreamInvalid("The model's provider sent an answer that is not embeddings.") from None
    if len(vectors) != count or not vectors[0] or len({len(v) for v in vectors}) != 1:
        raise UpstreamInvalid("The model's provider sent another number of embeddings than texts, or uneven ones.")
    return vectors, answer.usage.plain() if answer.usage else Usage(estimated=True)


def _floats(embedding: str | list[float]) -> array[float]:
    if isinstance(embedding, list):
        return array("f", embedding)
    values = array("f")
    values.frombytes(base64.b64decode(embedding, validate=True))
    return values


def _unit(values: array[float]) -> bytes:
    """To unit length. Raises ValueError for a vector that has none."""
    norm = math.sqrt(sum(v * v for v in values))
    if not math.isfinite(norm) or norm == 0.0:
        raise ValueError("no direction")
    if abs(norm - 1.0) > 1e-4:
        values = array("f", [v / norm for v in values])
    return values.tobytes()


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[OpenaiProvider]:
    key = resources.secret(settings.api_key) if settings.api_key else ""
    yield OpenaiProvider(settings, resources.http, key)
