"""Carries calls to Bedrock's runtime with our own HTTP client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import msgspec

from bascule.core.calls import Call, Usage
from bascule.core.chat import OPENAI_CHAT, ChatChunk, ChatRequest, ChatResponse, ChatStream
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse, embedded
from bascule.core.errors import InvalidRequest, UpstreamInvalid, UpstreamUnavailable
from bascule.core.http import HttpClient, HttpReply
from bascule.core.upstream import retry_after_s
from bascule.plugins.providers._images import Images
from bascule.plugins.providers._openai import after_first, drain
from bascule.plugins.providers.bedrock import embeddings
from bascule.plugins.providers.bedrock.answers import NAME, ConverseEvents, named_error, response
from bascule.plugins.providers.bedrock.requests import to_converse
from bascule.plugins.providers.bedrock.signing import Signer

if TYPE_CHECKING:
    from bascule.plugins.providers.bedrock import Settings

EMBEDDED_AT_ONCE: Final = 4  # requests, where a model takes one text in each
STREAM: Final = "application/vnd.amazon.eventstream"


class BedrockProvider:
    """`model` of a target is a model's id, an inference profile's or an ARN."""

    wires = frozenset({OPENAI_CHAT})

    def __init__(self, settings: Settings, http: HttpClient, signer: Signer, images: Images | None = None) -> None:
        base = settings.base_url or f"https://bedrock-runtime.{settings.region}.amazonaws.com"
        self._models = base.rstrip("/") + "/model/"
        self._http = http
        self._signer = signer
        self._images = images
        self._max_reply_bytes = settings.max_reply_bytes
        self._guardrail = settings.guardrail_id and {
            "guardrailIdentifier": settings.guardrail_id,
            "guardrailVersion": settings.guardrail_version,
        }

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        reply = await self._post(request, "/converse", call)
        try:
            body = await reply.read(self._max_reply_bytes)
        finally:
            await reply.aclose()
        return response(body, _identity(reply, call), request.model, int(call.started_at_s))

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        reply = await self._post(request, "/converse-stream", call)
        chunks = _chunks(reply, request, call)
        try:
            if STREAM not in reply.headers.get("content-type", ""):
                raise UpstreamInvalid("The model's provider did not answer with a stream.", provider=NAME)
            first = await anext(chunks)
        except BaseException:
            await chunks.aclose()
            await reply.aclose()
            raise

        async def close() -> None:
            await chunks.aclose()
            await reply.aclose()

        return ChatStream(after_first(first, chunks), wire=OPENAI_CHAT, model=request.model, provider=NAME, close=close)

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        bodies = embeddings.bodies(request)
        found: list[list[float]] = []
        tokens: list[int] = []
        for at in range(0, len(bodies), EMBEDDED_AT_ONCE):
            some = bodies[at : at + EMBEDDED_AT_ONCE]
            for vectors, count in await asyncio.gather(*(self._embed_part(request, body, call) for body in some)):
                found += vectors
                tokens.append(count)
        told = all(count >= 0 for count in tokens)
        usage = Usage(input_tokens=sum(tokens)) if told else Usage(estimated=True)
        return embedded(found, request, usage, provider=NAME, place=self._models)

    async def _embed_part(
        self, request: EmbeddingRequest, body: dict[str, Any], call: Call
    ) -> tuple[list[list[float]], int]:
        reply = await self._send(request.model, "/invoke", msgspec.json.encode(body), call)
        try:
            return embeddings.read(await reply.read(self._max_reply_bytes), reply.headers, NAME)
        finally:
            await reply.aclose()

    async def _post(self, request: ChatRequest, operation: str, call: Call) -> HttpReply:
        if request.wire != OPENAI_CHAT:
            raise InvalidRequest("This model does not take requests in this format.", param="model")
        return await self._send(request.model, operation, await self._outgoing(request, call), call)

    async def _send(self, model: str, operation: str, body: bytes, call: Call) -> HttpReply:
        # A colon or a slash in the model's name is part of the name: it must be escaped, and signed so.
        url = self._models + quote(model, safe="-._~") + operation
        headers = await self._signer.headers(url, body, call.deadline.check())
        reply = await self._http.post(url, headers, body, call.deadline.check())
        if reply.status == 200:
            return reply
        await reply.aclose()
        if reply.status < 400:
            raise UpstreamInvalid(f"The model's provider answered with status {reply.status}.", provider=NAME)
        wait_s = retry_after_s(reply.headers.get("retry-after"))
        raise named_error(reply.headers.get("x-amzn-errortype", ""), reply.status, wait_s)

    async def _outgoing(self, request: ChatRequest, call: Call) -> bytes:
        view = await self._images.inlined(request.view, call) if self._images else request.view
        body, dropped = to_converse(view)
        if self._guardrail:
            if body.get("guardrailConfig"):
                dropped.append("guardrailConfig")
            body["guardrailConfig"] = self._guardrail
        notes = [f"not_supported:{name[:40]}" for name in dropped[:10]]
        call.degraded.extend(note for note in notes if note not in call.degraded)
        return msgspec.json.encode(body)


async def _chunks(reply: HttpReply, request: ChatRequest, call: Call) -> AsyncGenerator[ChatChunk]:
    options = request.view.get("stream_options")
    show = isinstance(options, dict) and options.get("include_usage") is True
    events = ConverseEvents(_identity(reply, call), request.model, int(call.started_at_s), show_usage=show)
    async with aclosing(reply.chunks()) as pieces:
        async for piece in pieces:
            for chunk in events.feed(piece):
                if chunk.last:
                    await drain(pieces)
                yield chunk
                if chunk.last:
                    return
        for chunk in events.end():
            yield chunk
            if chunk.last:
                return
    raise UpstreamUnavailable("The model's answer was cut off.", provider=NAME)


def _identity(reply: HttpReply, call: Call) -> str:
    return "chatcmpl-" + (reply.headers.get("x-amzn-requestid") or call.id)
