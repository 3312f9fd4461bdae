"""A gateway for tests: real layers over a scripted model or a real HTTP vendor on loopback; time limits short."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from bascule.core.calls import CacheDirectives, Call, CallRecord, Usage
from bascule.core.chat import OPENAI_CHAT, ChatChunk, ChatRequest, ChatResponse, ChatStream
from bascule.core.deadlines import Deadline
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse
from bascule.core.fetching import Fetcher
from bascule.core.http import HttpClient
from bascule.core.principals import DEFAULT_SCOPES, Principal
from bascule.core.resources import Resources
from bascule.core.state import StateStore
from bascule.gateway.gateway import Gateway, build
from bascule.gateway.routes import Limits, Options, Route, Target
from bascule.plugins.http_clients import aiohttp as aiohttp_client
from bascule.plugins.providers.openai import OpenaiProvider, Settings
from bascule.plugins.state_stores.memory import MemoryState


def principal(tenant: str = "t", key_id: str = "k", subject: str = "") -> Principal:
    return Principal(tenant=tenant, key_id=key_id, subject=subject, scopes=DEFAULT_SCOPES)


def call(
    who: Principal | None = None,
    *,
    timeout_s: float = 5.0,
    directives: CacheDirectives | None = None,
    document_ids: frozenset[str] = frozenset(),
) -> Call:
    return Call(who or principal(), Deadline.after(timeout_s), directives=directives, document_ids=document_ids)


def request(text: str = "hello", *, model: str = "fast", stream: bool = False, **fields: Any) -> ChatRequest:
    view: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
    if stream:
        view["stream"] = True
    return ChatRequest(wire=OPENAI_CHAT, body=msgspec.json.encode(view), view=view, model=model, stream=stream)


async def collect(stream: ChatStream) -> list[ChatChunk]:
    """Every chunk; the stream is closed whatever happens."""
    try:
        return [chunk async for chunk in stream]
    finally:
        await stream.aclose()


def said(chunks: Sequence[ChatChunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


async def until(met: Callable[[], object], within_s: float = 5.0) -> float:
    """Poll until `met()` is true; the seconds it took. Fails the test when it is not in time."""
    began = time.monotonic()
    while not met():
        assert time.monotonic() - began < within_s, "the condition was not met in time"
        await asyncio.sleep(0.002)
    return time.monotonic() - began


class ScriptedModel:
    """An in-process provider. `script` is used up one item a call: an exception to raise, a text to say, or None for "ok".

    With `gate` set, every call waits for it. `started`, `cancelled` and `requests` say what happened.
    """

    def __init__(self, *script: BaseException | str | None, gate: asyncio.Event | None = None) -> None:
        self.script = list(script)
        self.gate = gate
        self.requests: list[ChatRequest] = []
        self.embedded: list[tuple[str, ...]] = []
        self.calls: list[Call] = []
        self.cancelled = 0
        self.usage = Usage(input_tokens=11, output_tokens=7)
        self.fingerprint = "scripted:1"

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        text = await self._turn(request, call)
        return ChatResponse(
            wire=request.wire, body=text.encode(), model=request.model, provider="scripted", usage=self.usage, text=text,
            finish="stop", complete=True,
        )  # fmt: skip

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        text = await self._turn(request, call)

        async def chunks() -> AsyncIterator[ChatChunk]:
            for letter in text:
                yield ChatChunk(letter.encode(), text=letter)
            yield ChatChunk(b"", finish="stop", usage=self.usage)
            yield ChatChunk(b"[DONE]", last=True)

        return ChatStream(chunks(), wire=request.wire, model=request.model, provider="scripted")

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        self.embedded.append(request.texts)
        if self.gate is not None:
            await self.gate.wait()
        return EmbeddingResponse(
            vectors=tuple(len(text).to_bytes(8, "little") for text in request.texts), dimension=2, model=request.model,
            provider="scripted", fingerprint=self.fingerprint, usage=Usage(input_tokens=len(request.texts)),
        )  # fmt: skip

    async def _turn(self, request: ChatRequest, call: Call) -> str:
        self.requests.append(request)
        self.calls.append(call)
        number = len(self.requests)
        item = self.script.pop(0) if self.script else None
        if self.gate is not None:
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if isinstance(item, BaseException):
            raise item
        return item if item is not None else f"ok {number}"


class Bench:
    """A gateway, its state store and the records it left."""

    def __init__(self, gateway: Gateway, state: StateStore, records: list[CallRecord]) -> None:
        self.gateway = gateway
        self.state = state
        self.records = records


def bench(
    *providers: object,
    limits: Mapping[str, Limits] | Limits | None = None,
    options: Options | None = None,
    state: StateStore | None = None,
    **route: Any,
) -> Bench:
    """One route `fast` over these providers in order (p0, p1, ...), each with a model m0, m1, ..."""
    named = {f"p{i}": provider for i, provider in enumerate(providers)}
    prices: dict[str, Any] = {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 2.0}
    targets = tuple(Target(provider=f"p{i}", model=f"m{i}", **prices) for i in range(len(providers)))
    records: list[CallRecord] = []
    store = state or MemoryState()

    def limits_of(who: Principal) -> Limits:
        if isinstance(limits, Limits):
            return limits
        return (limits or {}).get(who.key_id, Limits())

    routes = {"fast": Route(model="fast", targets=targets, **{"timeout_s": 5.0, **route})}
    gateway = build(routes, named, store, records.append, limits_of, options or Options())
    return Bench(gateway, store, records)


def openai_provider(url: str, http: HttpClient, secret: str = "sk-upstream-secret") -> OpenaiProvider:
    return OpenaiProvider(Settings(base_url=url, api_key="env:KEY"), http, secret)


@asynccontextmanager
async def http_client() -> AsyncIterator[HttpClient]:
    async with aiohttp_client.connect(aiohttp_client.Settings(pool_size=256)) as client:
        yield client


def resources(http: HttpClient, fetcher: Fetcher | None = None) -> Resources:
    return Resources(
        http=http, data=Path(), models=Path(), secret=lambda reference: "sk-upstream-secret", fetcher=fetcher
    )
