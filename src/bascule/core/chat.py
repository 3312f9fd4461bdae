"""The chat envelope and the port every gateway layer and every provider implements.

An envelope keeps the wire format and the raw bytes beside a read-only parsed view, so nothing a vendor adds is lost: only a
provider of another format translates.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

import msgspec

from bascule.core.calls import Call, Usage

OPENAI_CHAT: Final = "openai.chat"
ANTHROPIC_MESSAGES: Final = "anthropic.messages"
OPENAI_RESPONSES: Final = "openai.responses"


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request as it came.

    wire   which vendor's format `body` is in (OPENAI_CHAT, ANTHROPIC_MESSAGES, ...)
    body   the bytes as received; forwarded untouched to a provider of the same format (but for the model's name)
    view   `body` parsed; treat as read-only
    model  the name the caller used; `route` maps it to targets
    betas  names from the caller's `anthropic-beta` header: sent on only where the provider's operator allows them
    """

    wire: str
    body: bytes
    view: Mapping[str, Any]
    model: str
    stream: bool = False
    betas: tuple[str, ...] = ()


class ChatResponse(msgspec.Struct, frozen=True, kw_only=True):
    """One complete answer, in the format of the request.

    text      the assistant's text, "" when the answer is only a tool call
    finish    the vendor's own finish or stop reason; None when the vendor gave none
    complete  True only when the answer finished as a good answer does (stop, tool call): what the cache may keep
    """

    wire: str
    body: bytes
    model: str
    provider: str
    usage: Usage
    text: str
    finish: str | None
    complete: bool


class ChatChunk(msgspec.Struct, frozen=True):
    """One server-sent event: `event` is its name ("" for none), `data` its payload without the `data: ` prefix.

    `text` is the delta's text. `usage` and `finish` are set on the event that carries them. `last` marks the format's proper
    end (`[DONE]`, `message_stop`): a stream without one was cut.
    """

    data: bytes
    event: str = ""
    text: str = ""
    finish: str | None = None
    usage: Usage | None = None
    last: bool = False


class ChatStream:
    """An opened stream: headers are known, chunks follow. Iterate it once; always `aclose()` it.

    Raises UpstreamError while iterating when the upstream is cut, silent past the deadline or malformed.
    """

    __slots__ = ("_chunks", "_close", "model", "provider", "wire")

    def __init__(
        self,
        chunks: AsyncIterator[ChatChunk],
        *,
        wire: str,
        model: str,
        provider: str,
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._chunks = chunks
        self._close = close
        self.wire = wire
        self.model = model
        self.provider = provider

    def __aiter__(self) -> AsyncIterator[ChatChunk]:
        return self._chunks

    async def aclose(self) -> None:
        aclose = getattr(self._chunks, "aclose", None)
        if aclose is not None:
            await aclose()
        if self._close is not None:
            await self._close()


class ChatModel(Protocol):
    """Answers chats. Implemented by each gateway layer, by the gateway as a whole and by each provider."""

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        """One complete answer within `call.deadline`. Raises RequestError or UpstreamError."""
        ...

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        """Open a stream: returns once the first event is there, so that everything before it can still be retried."""
        ...
