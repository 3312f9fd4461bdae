"""Any vendor or server that speaks OpenAI's chat completions and embeddings under a base URL of its own, or its responses."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from bascule.core.calls import Call
from bascule.core.chat import OPENAI_CHAT, OPENAI_RESPONSES, ChatChunk, ChatRequest, ChatResponse, ChatStream
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse
from bascule.core.errors import InvalidRequest, UpstreamError, UpstreamInvalid, UpstreamUnavailable
from bascule.core.http import HttpClient, HttpReply
from bascule.core.json_splice import with_model
from bascule.core.openai_wire import ChunkReader, asking_for_usage, completion, embeddings_body, vectors
from bascule.core.resources import Resources
from bascule.core.responses_wire import EventReader, answer
from bascule.core.sse import SseParser
from bascule.core.upstream import MAX_ERROR_BYTES, status_error

NAME: Final = "openai"
DRAIN_S: Final = 0.02


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str = Field(description="Up to and including the version, e.g. https://api.openai.com/v1.")
    api_key: str | None = Field(None, description='A reference: "env:NAME" or "file:PATH".')
    organization: str | None = Field(None, description="Sent as OpenAI-Organization.")
    max_reply_bytes: int = Field(20_000_000, gt=0, description="Largest answer accepted.")
    stream_usage: bool = Field(True, description="Ask for usage in streams; off for servers that refuse the option.")
    responses: bool = Field(
        False,
        description="The vendor speaks /responses itself: such requests are forwarded as they are, not translated.",
    )


class OpenaiProvider:
    """`wires`: the formats it forwards as they are."""

    def __init__(self, settings: Settings, http: HttpClient, key: str) -> None:
        base = settings.base_url.rstrip("/")
        self.wires = frozenset({OPENAI_CHAT, OPENAI_RESPONSES} if settings.responses else {OPENAI_CHAT})
        self._chat_url = base + "/chat/completions"
        self._responses_url = base + "/responses"
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
        reply = await self._post(self._url(request), with_model(request.body, request.view, request.model), call)
        try:
            body = await reply.read(self._max_reply_bytes)
        finally:
            await reply.aclose()
        read = completion if request.wire == OPENAI_CHAT else answer
        return read(body, model=request.model, provider=NAME)

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        body, reader = self._streaming(request)
        reply = await self._post(self._url(request), body, call)
        chunks = _chunks(reply, reader)
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

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        reply = await self._post(self._embed_url, embeddings_body(request), call)
        try:
            body = await reply.read(self._max_reply_bytes)
        finally:
            await reply.aclose()
        found, usage = vectors(body, len(request.texts))
        dimension = len(found[0]) // 4
        source = f"{self._base}\0{request.model}\0{dimension}"
        return EmbeddingResponse(
            vectors=found,
            dimension=dimension,
            model=request.model,
            provider=NAME,
            fingerprint="openai:" + hashlib.sha256(source.encode()).hexdigest()[:16],
            usage=usage,
        )

    def _url(self, request: ChatRequest) -> str:
        if request.wire not in self.wires:
            raise InvalidRequest("This model does not take requests in this format.", param="model")
        return self._chat_url if request.wire == OPENAI_CHAT else self._responses_url

    async def _post(self, url: str, body: bytes, call: Call) -> HttpReply:
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
        # One error body for all of the vendor's formats.
        raise status_error(reply.status, retry_after, refused, provider=NAME, wire=OPENAI_CHAT, secret=self._key)

    def _streaming(self, request: ChatRequest) -> tuple[bytes, ChunkReader | EventReader]:
        if request.wire == OPENAI_CHAT and self._stream_usage:
            body, hide = asking_for_usage(request)
            return body, ChunkReader(hide_usage=hide)
        body = with_model(request.body, request.view, request.model)
        return body, ChunkReader() if request.wire == OPENAI_CHAT else EventReader()


async def _chunks(reply: HttpReply, reader: ChunkReader | EventReader) -> AsyncGenerator[ChatChunk]:
    parser = SseParser()
    async with aclosing(reply.chunks()) as pieces:
        async for piece in pieces:
            for event, data in parser.feed(piece):
                chunk = reader.read(event, data)
                if chunk is None:
                    continue
                if chunk.last:
                    await _drain(pieces)
                yield chunk
                if chunk.last:
                    return
    raise UpstreamUnavailable("The model's answer was cut off.")


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
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[OpenaiProvider]:
    key = resources.secret(settings.api_key) if settings.api_key else ""
    yield OpenaiProvider(settings, resources.http, key)
