"""What translates one wire format to OpenAI's chat completions, the hub that every chat provider takes, and back. Pure."""

from __future__ import annotations

from typing import Protocol

from bascule.core.chat import ChatChunk, ChatRequest, ChatResponse
from bascule.core.errors import UpstreamRejected


class StreamTranslator(Protocol):
    """Translates one stream, chunk by chunk; made anew for each."""

    def feed(self, chunk: ChatChunk) -> list[ChatChunk]:
        """The chunks of the caller's format that this chunk of OPENAI_CHAT leads to, in order; often one, sometimes none.

        `text`, `finish` (in the caller's format's own words), `usage` and `last` are set as on a stream that came in that
        format: for the chunk whose `last` is set, the last chunk returned is the caller's format's proper end, with the
        whole usage. Raises UpstreamInvalid for a chunk that is not one of OPENAI_CHAT.
        """
        ...


class Translator(Protocol):
    """One wire format. A module-level object in `core/wires/<format>.py`, named in `TRANSLATORS` by the wire's name."""

    def to_chat(self, request: ChatRequest) -> tuple[ChatRequest, list[str]]:
        """The same request in OPENAI_CHAT, with `body` and `view` set, and the names of the fields that have no counterpart
        and were left out (each becomes `not_supported:<field>` in `call.degraded`).

        A streamed request need not ask for the usage: every provider tells it on the last chunk where it can. Raises
        InvalidRequest (with `param`) for what cannot be translated and must not be dropped.
        """
        ...

    def response(self, response: ChatResponse, request: ChatRequest) -> ChatResponse:
        """An answer in OPENAI_CHAT to the translated request, in the caller's format. `request` is the caller's own; its
        `model` is the target's. `usage`, `text`, `complete`, `provider` and `model` stay; `wire`, `body` and `finish` change.

        Raises UpstreamInvalid for a body that is not a chat completion.
        """
        ...

    def stream(self, request: ChatRequest, created_s: int) -> StreamTranslator:
        """For the answer to `request` (the caller's own). `created_s`: Unix time, for formats that show it."""
        ...

    def error(self, error: UpstreamRejected) -> UpstreamRejected:
        """The vendor's refusal with its body (OpenAI's error body, or anything) in the caller's format."""
        ...
