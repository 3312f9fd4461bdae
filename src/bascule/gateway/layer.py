"""The port that every gateway layer implements and wraps: a model that chats, streams and embeds."""

from __future__ import annotations

from typing import Protocol, cast

from bascule.core.calls import Call
from bascule.core.chat import ChatModel, ChatRequest, ChatResponse, ChatStream
from bascule.core.embedding import EmbeddingModel, EmbeddingRequest, EmbeddingResponse
from bascule.core.errors import InvalidRequest


class Model(ChatModel, EmbeddingModel, Protocol):
    """A ChatModel that also embeds: what one layer knows of the next."""


class Whole:
    """Makes a provider that only chats, or only embeds, a whole Model: it refuses what the provider cannot do."""

    __slots__ = ("_chat", "_embed")

    def __init__(self, provider: object) -> None:
        self._chat = cast("ChatModel", provider) if hasattr(provider, "chat") else None
        self._embed = cast("EmbeddingModel", provider) if hasattr(provider, "embed") else None

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        return await self._chatting().chat(request, call)

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        return await self._chatting().stream(request, call)

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        if self._embed is None:
            raise InvalidRequest("This model does not embed.", param="model")
        return await self._embed.embed(request, call)

    def _chatting(self) -> ChatModel:
        if self._chat is None:
            raise InvalidRequest("This model embeds; it does not chat.", param="model")
        return self._chat


def whole(provider: object) -> Model:
    """The provider itself where it can do everything."""
    if hasattr(provider, "chat") and hasattr(provider, "embed"):
        return cast("Model", provider)
    return Whole(provider)
