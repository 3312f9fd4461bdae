"""What every provider of OpenAI's formats does: a vendor's own module says where its calls go and what they carry."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, suppress
from typing import Final

import msgspec

from bascule.core.calls import Call
from bascule.core.chat import OPENAI_CHAT, OPENAI_RESPONSES, ChatChunk, ChatRequest, ChatResponse, ChatStream
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse
from bascule.core.errors import InvalidRequest, UpstreamError, UpstreamInvalid, UpstreamUnavailable
from bascule.core.http import HttpClient, HttpReply
from bascule.core.json_splice import with_model
from bascule.core.openai_wire import ChunkReader, asking_for_usage, completion, embeddings_body, vectors
from bascule.core.responses_wire import EventReader, answer
from bascule.core.sse import SseParser
from bascule.core.upstream import MAX_ERROR_BYTES, status_error

DRAIN_S: Final = 0.02
OPTION: Final = "stream_options"
OPTION_NOTE: Final = f"not_supported:{OPTION}"


class SpeaksOpenai:
    """`wires`: the formats it forwards as they are. `base` is the address that makes vectors this vendor's own.

    A subclass may give the URLs for a model (`_url`, `_embedding_url`) and see to its headers before a call (`_post`).
    """

    def __init__(
        self,
        name: str,
        base: str,
        http: HttpClient,
        headers: Mapping[str, str],
        secret: str,
        *,
        max_reply_bytes: int,
        stream_usage: bool,
        responses: bool,
    ) -> None:
        self.wires = frozenset({OPENAI_CHAT, OPENAI_RESPONSES} if responses else {OPENAI_CHAT})
        self._name = name
        self._base = base
        self._chat_url = base + "/chat/completions"
        self._responses_url = base + "/responses"
        self._embed_url = base + "/embeddings"
        self._http = http
        self._secret = secret
        self._headers: Mapping[str, str] = {"content-type": "application/json", **headers}
        self._max_reply_bytes = max_reply_bytes
        self._stream_usage = stream_usage

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        reply = await self._post(self._url(request), with_model(request.body, request.view, request.model), call)
        try:
            body = await reply.read(self._max_reply_bytes)
        finally:
            await reply.aclose()
        read = completion if request.wire == OPENAI_CHAT else answer
        return read(body, model=request.model, provider=self._name)

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        body, reader = self._streaming(request, call)
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

        return ChatStream(
            after_first(first, chunks), wire=request.wire, model=request.model, provider=self._name, close=close
        )

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        reply = await self._post(self._embedding_url(request), embeddings_body(request), call)
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
            provider=self._name,
            fingerprint=f"{self._name}:" + hashlib.sha256(source.encode()).hexdigest()[:16],
            usage=usage,
        )

    def _embedding_url(self, request: EmbeddingRequest) -> str:
        return self._embed_url

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
        retry_after = reply.headers.get("retry-after") or _from_ms(reply.headers.get("retry-after-ms"))
        # One error body for all of the vendor's formats.
        raise status_error(
            reply.status, retry_after, refused, provider=self._name, wire=OPENAI_CHAT, secret=self._secret
        )

    def _streaming(self, request: ChatRequest, call: Call) -> tuple[bytes, ChunkReader | EventReader]:
        if request.wire == OPENAI_CHAT and self._stream_usage:
            body, hide = asking_for_usage(request)
            return body, ChunkReader(hide_usage=hide)
        if not self._stream_usage and request.wire == OPENAI_CHAT and OPTION in request.view:
            # The operator says that the vendor refuses it, whoever put it there.
            if OPTION_NOTE not in call.degraded:
                call.degraded.append(OPTION_NOTE)
            kept = {name: value for name, value in request.view.items() if name != OPTION}
            return msgspec.json.encode(kept | {"model": request.model}), ChunkReader()
        body = with_model(request.body, request.view, request.model)
        return body, ChunkReader() if request.wire == OPENAI_CHAT else EventReader()


def _from_ms(value: str | None) -> str | None:
    """Azure's Retry-After in milliseconds, as seconds."""
    return str(int(value) / 1000) if value and value.isdecimal() else None


async def _chunks(reply: HttpReply, reader: ChunkReader | EventReader) -> AsyncGenerator[ChatChunk]:
    parser = SseParser()
    async with aclosing(reply.chunks()) as pieces:
        async for piece in pieces:
            for event, data in parser.feed(piece):
                chunk = reader.read(event, data)
                if chunk is None:
                    continue
                if chunk.last:
                    await drain(pieces)
                yield chunk
                if chunk.last:
                    return
    raise UpstreamUnavailable("The model's answer was cut off.")


async def drain(pieces: AsyncIterator[bytes]) -> None:
    """Read to the end of a body whose last event was there, so that its connection can serve again; not worth a wait."""
    with suppress(TimeoutError, UpstreamError):
        async with asyncio.timeout(DRAIN_S):
            async for _ in pieces:
                pass


async def after_first(first: ChatChunk, chunks: AsyncGenerator[ChatChunk]) -> AsyncIterator[ChatChunk]:
    async with aclosing(chunks):
        yield first
        async for chunk in chunks:
            yield chunk
