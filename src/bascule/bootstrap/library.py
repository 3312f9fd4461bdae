"""The gateway in a program of one's own: the same layers as the server's, without a server.

`AsyncGateway` lives in the event loop that opens it; `Gateway` is the same for programs without one, and may be shared by threads.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from array import array
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

import msgspec

from bascule.bootstrap.calls import options, routes
from bascule.bootstrap.gateway import Providers, open_resources, open_state
from bascule.bootstrap.observing import open_policies
from bascule.core.calls import Call, CallRecord
from bascule.core.chat import OPENAI_CHAT, ChatRequest, ChatResponse
from bascule.core.deadlines import Deadline
from bascule.core.embedding import EmbeddingRequest
from bascule.core.errors import BasculeError, ConfigError, UpstreamInvalid
from bascule.core.principals import SCOPE_CHAT, Principal
from bascule.gateway.gateway import Gateway as Layers
from bascule.gateway.gateway import build
from bascule.settings import Exact, Settings, load

log = logging.getLogger("bascule.calls")

T = TypeVar("T")
D = TypeVar("D")


class _Raise:
    """Stands for "no default": the error is raised."""


RAISE: Final = _Raise()


def settings_for(base_url: str, api_key: str | None, kind: str, models: Sequence[str], gateway: Any) -> Settings:
    """One provider, and models that go by its own names for them."""
    provider: dict[str, Any] = {"kind": kind}
    provider |= {"base_url": base_url} if base_url else {}
    provider |= {"api_key": api_key} if api_key else {}
    named = {name: {"targets": [{"provider": "main", "model": name}]} for name in models}
    tree: dict[str, Any] = {
        "providers": {"main": provider},
        "models": named,
        "rag": {"enabled": False},
        "gateway": dict(gateway or {}),
    }
    try:
        return Exact(**tree)
    except ValueError as error:
        raise ConfigError(f"The gateway cannot be made of these arguments: {error}") from None


def write_log(record: CallRecord) -> None:
    """One line for each call; never a prompt, an answer or a key."""
    log.info(
        "%s model=%s outcome=%s cache=%s latency_s=%.3f tokens=%d+%d error=%s",
        record.id,
        record.model,
        record.outcome,
        record.cache,
        record.latency_s,
        record.input_tokens,
        record.output_tokens,
        record.error or "-",
    )


class AsyncGateway:
    """`async with AsyncGateway(base_url, api_key="env:NAME", models=["gpt-5-mini"]) as gateway: ...`

    base_url   of one provider, up to and including the version; `config` names a TOML file with as many as one likes instead
    api_key    a reference ("env:NAME", "file:PATH"), never the key itself
    kind       the provider's kind, a name of the files in plugins/providers
    models     the vendor's names of the models to use; the first is the default
    gateway    settings of the section [gateway], e.g. {"timeout_s": 5, "cache_ttl_s": 600}
    on_record  takes the record of every call; by default each is one line of the logger `bascule.calls`

    Raises ConfigError for arguments that cannot work.
    """

    def __init__(
        self,
        base_url: str = "",
        *,
        api_key: str | None = None,
        kind: str = "openai",
        models: Sequence[str] = (),
        config: Path | str | None = None,
        gateway: Mapping[str, Any] | None = None,
        on_record: Callable[[CallRecord], None] = write_log,
    ) -> None:
        if config is not None:
            self._settings = load(Path(config))
        elif models:
            self._settings = settings_for(base_url, api_key, kind, models, gateway)
        else:
            raise ConfigError("Name at least one model: models=[...], or a configuration file: config=...")
        self._on_record = on_record
        self._stack = AsyncExitStack()
        self._layers: Layers | None = None

    async def __aenter__(self) -> AsyncGateway:
        settings, stack = self._settings, self._stack
        try:
            resources = await open_resources(settings, stack)
            state = await open_state(settings, resources, stack)
            providers = Providers(resources)
            stack.push_async_callback(providers.aclose)
            await providers.open(settings.providers, settings.gateway.max_reply_bytes)
            layers = build(
                routes(settings.models, settings),
                providers.now(),
                state,
                self._on_record,
                None,
                options(settings),
                policies=await open_policies(settings, resources, stack),
            )
        except BaseException:
            await stack.aclose()
            raise
        stack.push_async_callback(layers.aclose)
        self._layers = layers
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._layers = None
        await self._stack.aclose()

    async def ask(
        self,
        question: str | Sequence[Mapping[str, Any]],
        *,
        model: str = "",
        default: D | _Raise = RAISE,
        timeout_s: float | None = None,
        tenant: str = "default",
        user: str = "",
        **fields: Any,
    ) -> str | D:
        """The answer's text. `question` is a text or OpenAI's list of messages; `fields` go into the request as they are.

        With `default` (None, say) a call that fails, or whose answer is empty, gives that instead of raising BasculeError.
        """
        messages = [{"role": "user", "content": question}] if isinstance(question, str) else list(question)
        try:
            response = await self._chat(messages, model, fields, timeout_s, tenant, user)
            text = response.text
            if not text.strip():
                raise UpstreamInvalid("The model's answer is empty.")
        except BasculeError as error:
            if isinstance(default, _Raise):
                raise
            log.warning("no answer (%s): the default is given", error.code)
            return default
        return text

    async def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        model: str = "",
        timeout_s: float | None = None,
        tenant: str = "default",
        user: str = "",
        **fields: Any,
    ) -> dict[str, Any]:
        """OpenAI's chat completion, as a dict. Raises RequestError or UpstreamError."""
        response = await self._chat(messages, model, fields, timeout_s, tenant, user)
        completion: dict[str, Any] = msgspec.json.decode(response.body)
        return completion

    async def stream(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        model: str = "",
        timeout_s: float | None = None,
        tenant: str = "default",
        user: str = "",
        **fields: Any,
    ) -> AsyncIterator[str]:
        """The answer's text, piece by piece. A stream that is cut raises UpstreamError; it never just ends."""
        layers, name = self._open(), model or self._default()
        request = _request(name, messages, {**fields, "stream": True})
        stream = await layers.stream(request, self._call(name, timeout_s, tenant, user))
        try:
            async for chunk in stream:
                if chunk.text:
                    yield chunk.text
        finally:
            await stream.aclose()

    async def embed(
        self, texts: Sequence[str], *, model: str = "", timeout_s: float | None = None, tenant: str = "default"
    ) -> list[list[float]]:
        """One vector of unit length for each text. Raises RequestError or UpstreamError."""
        layers, name = self._open(), model or self._default()
        asked = EmbeddingRequest(model=name, texts=tuple(texts))
        response = await layers.embed(asked, self._call(name, timeout_s, tenant, ""))
        return [_floats(vector) for vector in response.vectors]

    async def _chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        model: str,
        fields: Mapping[str, Any],
        timeout_s: float | None,
        tenant: str,
        user: str,
    ) -> ChatResponse:
        layers, name = self._open(), model or self._default()
        return await layers.chat(_request(name, messages, fields), self._call(name, timeout_s, tenant, user))

    def _call(self, model: str, timeout_s: float | None, tenant: str, user: str) -> Call:
        route = self._open().route(model)
        longest_s = route.timeout_s if route else self._settings.gateway.timeout_s
        principal = Principal(tenant=tenant, subject=user, scopes=frozenset({SCOPE_CHAT}))
        return Call(principal, Deadline.after(min(longest_s, timeout_s or longest_s)))

    def _open(self) -> Layers:
        if self._layers is None:
            raise ConfigError("The gateway is not open: use it inside its `with` block.")
        return self._layers

    def _default(self) -> str:
        return next(iter(self._settings.models), "")


def _floats(vector: bytes) -> list[float]:
    values = array("f", vector)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tolist()


def _request(model: str, messages: Sequence[Mapping[str, Any]], fields: Mapping[str, Any]) -> ChatRequest:
    view = {"model": model, "messages": list(messages), **fields}
    stream = view.get("stream") is True
    return ChatRequest(wire=OPENAI_CHAT, body=msgspec.json.encode(view), view=view, model=model, stream=stream)


class Gateway:
    """`with Gateway(...) as gateway: ...`: AsyncGateway for programs without an event loop. Its methods may be called from
    any thread at once; identical calls under way are one upstream call."""

    def __init__(self, base_url: str = "", **arguments: Any) -> None:
        self._inner = AsyncGateway(base_url, **arguments)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Gateway:
        loop = self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=loop.run_forever, name="bascule-gateway", daemon=True)
        self._thread.start()
        try:
            self._run(self._inner.__aenter__())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._run(self._inner.__aexit__(None, None, None))
        finally:
            self._stop()

    def ask(self, question: str | Sequence[Mapping[str, Any]], **arguments: Any) -> Any:
        """As AsyncGateway.ask."""
        return self._run(self._inner.ask(question, **arguments))

    def chat(self, messages: Sequence[Mapping[str, Any]], **arguments: Any) -> dict[str, Any]:
        """As AsyncGateway.chat."""
        return self._run(self._inner.chat(messages, **arguments))

    def embed(self, texts: Sequence[str], **arguments: Any) -> list[list[float]]:
        """As AsyncGateway.embed."""
        return self._run(self._inner.embed(texts, **arguments))

    def stream(self, messages: Sequence[Mapping[str, Any]], **arguments: Any) -> Iterator[str]:
        """As AsyncGateway.stream. Leaving the loop early stops the upstream call."""
        pieces = self._inner.stream(messages, **arguments)
        try:
            while True:
                piece = self._run(_next(pieces))
                if piece is None:
                    return
                yield piece
        finally:
            self._run(_close(pieces))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise ConfigError("The gateway is not open: use it inside its `with` block.")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _stop(self) -> None:
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
        self._loop = self._thread = None


async def _next(pieces: AsyncIterator[str]) -> str | None:
    return await anext(pieces, None)


async def _close(pieces: Any) -> None:
    await pieces.aclose()
