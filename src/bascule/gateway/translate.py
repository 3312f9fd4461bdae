"""Any wire format reaches any provider: one that does not take the request's format is asked in OpenAI's, and what it answers
comes back in the caller's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Mapping
from typing import Any, Final

from bascule.core.calls import Call
from bascule.core.chat import OPENAI_CHAT, ChatChunk, ChatRequest, ChatResponse, ChatStream
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse
from bascule.core.errors import InvalidRequest, UpstreamInvalid, UpstreamRejected
from bascule.core.wires import TRANSLATORS, StreamTranslator, Translator
from bascule.gateway.layer import Model, whole

DEFAULT_WIRES: Final = frozenset({OPENAI_CHAT})
MAX_NOTES: Final = 10


def in_any_wire(provider: object) -> Model:
    """The provider as a whole Model that takes every format. Its `wires` say which it takes itself: absent, OPENAI_CHAT."""
    model = whole(provider)
    if not hasattr(provider, "chat"):
        return model
    return Translating(model, getattr(provider, "wires", DEFAULT_WIRES))


class Translating:
    """`wires`: what the provider takes as it is. Stands between Retry and the provider.

    Raises InvalidRequest for what has no counterpart in the provider's format and must not be dropped; what may be dropped is
    noted in `call.degraded`.
    """

    __slots__ = ("_next", "_translators", "_wires")

    def __init__(self, next: Model, wires: frozenset[str], translators: Mapping[str, Translator] = TRANSLATORS) -> None:
        self._next = next
        self._wires = wires
        self._translators = translators

    # Not coroutines themselves: a request that needs no translation costs no further one.

    def embed(self, request: EmbeddingRequest, call: Call) -> Coroutine[Any, Any, EmbeddingResponse]:
        return self._next.embed(request, call)

    def chat(self, request: ChatRequest, call: Call) -> Coroutine[Any, Any, ChatResponse]:
        if request.wire in self._wires:
            return self._next.chat(request, call)
        return self._chat(request, call)

    def stream(self, request: ChatRequest, call: Call) -> Coroutine[Any, Any, ChatStream]:
        if request.wire in self._wires:
            return self._next.stream(request, call)
        return self._stream(request, call)

    async def _chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        translator = self._translator(request)
        asked = _asked(translator, request, call)
        try:
            response = await self._next.chat(asked, call)
        except UpstreamRejected as error:
            raise translator.error(error) from None
        return translator.response(response, request)

    async def _stream(self, request: ChatRequest, call: Call) -> ChatStream:
        translator = self._translator(request)
        asked = _asked(translator, request, call)
        try:
            inner = await self._next.stream(asked, call)
        except UpstreamRejected as error:
            raise translator.error(error) from None
        chunks = _translated(inner, translator.stream(request, int(call.started_at_s)))
        return ChatStream(chunks, wire=request.wire, model=inner.model, provider=inner.provider, close=inner.aclose)

    def _translator(self, request: ChatRequest) -> Translator:
        found = self._translators.get(request.wire)
        if found is None:
            raise InvalidRequest("This model does not take requests in this format.", param="model")
        return found


def _asked(translator: Translator, request: ChatRequest, call: Call) -> ChatRequest:
    asked, dropped = translator.to_chat(request)
    if request.betas:
        dropped.append("anthropic-beta")
    notes = [f"not_supported:{name[:40]}" for name in dropped[:MAX_NOTES]]
    call.degraded.extend(note for note in notes if note not in call.degraded)
    return asked


async def _translated(inner: ChatStream, translator: StreamTranslator) -> AsyncIterator[ChatChunk]:
    ended = False
    try:
        async for chunk in inner:
            for found in translator.feed(chunk):
                ended = ended or found.last
                yield found
        if not ended:
            raise UpstreamInvalid("The model's answer ended without its proper end.", provider=inner.provider)
    finally:
        await inner.aclose()
