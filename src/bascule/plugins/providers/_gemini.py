"""What every provider of Gemini's format does: a vendor's own module says where its calls go and what authorises them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final

import msgspec

from bascule.core.calls import Call
from bascule.core.chat import OPENAI_CHAT, ChatChunk, ChatRequest, ChatResponse, ChatStream
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse, embedded
from bascule.core.errors import InvalidRequest, UpstreamError, UpstreamInvalid, UpstreamRejected, UpstreamUnavailable
from bascule.core.http import HttpClient, HttpReply
from bascule.core.sse import SseParser
from bascule.core.upstream import MAX_ERROR_BYTES, status_error
from bascule.plugins.providers._gemini_answers import GenerateEvents, read_object, response
from bascule.plugins.providers._gemini_embeddings import Part, batches, read, usage_of
from bascule.plugins.providers._gemini_requests import Thinking, to_generate
from bascule.plugins.providers._images import Images
from bascule.plugins.providers._openai import after_first, drain

EMBEDDED_AT_ONCE: Final = 4  # requests, where a model takes one text in each
LONGEST_TOLD: Final = 500
IMAGES: Final = frozenset({"image/png", "image/jpeg", "image/webp", "image/heic"})


class SpeaksGemini:
    """A subclass gives a model's address (`_model_url`) and the headers that authorise a call (`_credentials`)."""

    wires = frozenset({OPENAI_CHAT})

    def __init__(
        self,
        name: str,
        http: HttpClient,
        *,
        max_reply_bytes: int,
        thinking: Thinking,
        safety: Mapping[str, str],
        images: Images | None = None,
    ) -> None:
        self._name = name
        self._http = http
        self._max_reply_bytes = max_reply_bytes
        self._thinking: Thinking = thinking
        self._images = images
        self._safety = [{"category": category, "threshold": threshold} for category, threshold in safety.items()]

    def _model_url(self, model: str) -> str:
        raise AssertionError("a vendor says where its models are")

    async def _credentials(self, timeout_s: float) -> Mapping[str, str]:
        raise AssertionError("a vendor says what authorises a call")

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        reply = await self._post(request, ":generateContent", call)
        try:
            body = await reply.read(self._max_reply_bytes)
        finally:
            await reply.aclose()
        return response(body, self._name, call.id, request.model, int(call.started_at_s))

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        reply = await self._post(request, ":streamGenerateContent?alt=sse", call)
        chunks = _chunks(reply, request, call)
        try:
            if "text/event-stream" not in reply.headers.get("content-type", ""):
                raise UpstreamInvalid("The model's provider did not answer with a stream.", provider=self._name)
            first = await anext(chunks)
        except BaseException:
            await chunks.aclose()
            await reply.aclose()
            raise

        async def close() -> None:
            await chunks.aclose()
            await reply.aclose()

        return ChatStream(
            after_first(first, chunks), wire=OPENAI_CHAT, model=request.model, provider=self._name, close=close
        )

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        parts = self._embeddings(request)
        found: list[list[float]] = []
        tokens: list[int] = []
        for at in range(0, len(parts), EMBEDDED_AT_ONCE):
            some = parts[at : at + EMBEDDED_AT_ONCE]
            for vectors, count in await asyncio.gather(*(self._embed_part(request, part, call) for part in some)):
                found += vectors
                tokens.append(count)
        place = self._model_url(request.model)
        return embedded(found, request, usage_of(tokens), provider=self._name, place=place)

    def _embeddings(self, request: EmbeddingRequest) -> list[Part]:
        return batches(request)

    async def _embed_part(self, request: EmbeddingRequest, part: Part, call: Call) -> tuple[list[list[float]], int]:
        reply = await self._send(request.model, part.operation, msgspec.json.encode(part.body), call)
        try:
            return read(await reply.read(self._max_reply_bytes), self._name)
        finally:
            await reply.aclose()

    async def _post(self, request: ChatRequest, operation: str, call: Call) -> HttpReply:
        if request.wire != OPENAI_CHAT:
            raise InvalidRequest("This model does not take requests in this format.", param="model")
        return await self._send(request.model, operation, await self._outgoing(request, call), call)

    async def _send(self, model: str, operation: str, body: bytes, call: Call) -> HttpReply:
        authorised = await self._credentials(call.deadline.check())
        headers = {"content-type": "application/json", **authorised}
        reply = await self._http.post(self._model_url(model) + operation, headers, body, call.deadline.check())
        if reply.status == 200:
            return reply
        try:
            refused = await reply.read(MAX_ERROR_BYTES)
        except UpstreamError:
            refused = b""
        finally:
            await reply.aclose()
        raise self._refusal(reply, refused, authorised.values())

    async def _outgoing(self, request: ChatRequest, call: Call) -> bytes:
        view = await self._images.inlined(request.view, call) if self._images else request.view
        body, dropped = to_generate(view, self._thinking)
        if self._safety:
            body["safetySettings"] = self._safety
        notes = [f"not_supported:{name[:40]}" for name in dropped[:10]]
        call.degraded.extend(note for note in notes if note not in call.degraded)
        return msgspec.json.encode(body)

    def _refusal(self, reply: HttpReply, body: bytes, secrets: Any) -> UpstreamError:
        said = _error_of(body)
        wait = reply.headers.get("retry-after") or _retry_delay(said)
        error = status_error(reply.status, wait, b"", provider=self._name, wire=OPENAI_CHAT)
        if not isinstance(error, UpstreamRejected):
            return error
        message = error.message
        if reply.status == 400 and isinstance(said.get("message"), str):
            # What is wrong with the request; other refusals speak of the operator's project and rights.
            message = said["message"][:LONGEST_TOLD]
            for secret in secrets:
                message = message.replace(secret.removeprefix("Bearer "), "***")
        told = {
            "message": message,
            "type": "upstream_error",
            "param": None,
            "code": str(said.get("status") or error.code),
        }
        return UpstreamRejected(
            error.message,
            provider=self._name,
            status=reply.status,
            body=msgspec.json.encode({"error": told}),
            wire=OPENAI_CHAT,
        )


def _error_of(body: bytes) -> dict[str, Any]:
    try:
        found = read_object(body).get("error")
    except UpstreamInvalid:
        return {}
    return found if isinstance(found, dict) else {}


def _retry_delay(said: dict[str, Any]) -> str | None:
    """The wait by google.rpc.RetryInfo, in seconds: "17s" or "0.5s" there."""
    details = said.get("details")
    for detail in details if isinstance(details, list) else ():
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str) and delay.endswith("s"):
            return delay[:-1]
    return None


async def _chunks(reply: HttpReply, request: ChatRequest, call: Call) -> AsyncGenerator[ChatChunk]:
    options = request.view.get("stream_options")
    show = isinstance(options, dict) and options.get("include_usage") is True
    parser = SseParser()
    events = GenerateEvents(call.id, request.model, int(call.started_at_s), show_usage=show)
    async with aclosing(reply.chunks()) as pieces:
        async for piece in pieces:
            for _, data in parser.feed(piece):
                for chunk in events.feed(data):
                    if chunk.last:
                        await drain(pieces)
                    yield chunk
                    if chunk.last:
                        return
        for chunk in events.end():
            yield chunk
            if chunk.last:
                return
    raise UpstreamUnavailable("The model's answer was cut off.")
