"""Answers with its own prompt, word for word: for tests, demonstrations and leak checks. Embeds without a model."""

from __future__ import annotations

import array
import hashlib
import math
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from bascule.core.calls import Call, Usage
from bascule.core.chat import ANTHROPIC_MESSAGES, OPENAI_CHAT, ChatChunk, ChatRequest, ChatResponse, ChatStream
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse
from bascule.core.errors import InvalidRequest
from bascule.core.resources import Resources

NAME: Final = "echo"
_PIECE: Final = re.compile(r"\s*\S+\s*|\s+")


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    dimension: int = Field(64, ge=8, le=4096, description="Length of the vectors it makes.")


class EchoProvider:
    """The text is every message as `role: content`, one a line, system prompt first."""

    def __init__(self, dimension: int = 64) -> None:
        self._dimension = dimension

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        text = _prompt(request)
        usage = _usage(request, text)
        return ChatResponse(
            wire=request.wire,
            body=_body(request, call, text, usage),
            model=request.model,
            provider=NAME,
            usage=usage,
            text=text,
            finish="end_turn" if request.wire == ANTHROPIC_MESSAGES else "stop",
            complete=bool(text.strip()),
        )

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        if request.wire != OPENAI_CHAT:
            raise InvalidRequest("The echo model streams OpenAI's format only.", param="stream")
        return ChatStream(_stream(request, call), wire=OPENAI_CHAT, model=request.model, provider=NAME)

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        dimension = request.dimensions or self._dimension
        return EmbeddingResponse(
            vectors=tuple(_vector(text, dimension) for text in request.texts),
            dimension=dimension,
            model=request.model,
            provider=NAME,
            fingerprint=f"echo:{dimension}",
            usage=Usage(input_tokens=sum(len(text) for text in request.texts) // 4),
        )


def _prompt(request: ChatRequest) -> str:
    lines = []
    system = request.view.get("system")
    if system:
        lines.append(f"system: {_text(system)}")
    for message in request.view.get("messages", ()):
        lines.append(f"{message.get('role')}: {_text(message.get('content'))}")
    return "\n".join(lines)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""


def _usage(request: ChatRequest, text: str) -> Usage:
    return Usage(input_tokens=len(request.body) // 4, output_tokens=len(text) // 4)


def _body(request: ChatRequest, call: Call, text: str, usage: Usage) -> bytes:
    if request.wire == ANTHROPIC_MESSAGES:
        message = {
            "id": call.id,
            "type": "message",
            "role": "assistant",
            "model": request.model,
            "stop_reason": "end_turn",
        }
        counts = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
        return msgspec.json.encode(message | {"content": [{"type": "text", "text": text}], "usage": counts})
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return msgspec.json.encode(
        _frame(request, call, "chat.completion") | {"choices": [choice], "usage": _counts(usage)}
    )


def _frame(request: ChatRequest, call: Call, kind: str) -> dict[str, Any]:
    return {"id": f"echo-{call.id}", "object": kind, "created": int(call.started_at_s), "model": request.model}


def _counts(usage: Usage) -> dict[str, int]:
    total = usage.input_tokens + usage.output_tokens
    return {"prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens, "total_tokens": total}


async def _stream(request: ChatRequest, call: Call) -> AsyncIterator[ChatChunk]:
    text = _prompt(request)
    usage = _usage(request, text)
    frame = _frame(request, call, "chat.completion.chunk")
    for piece in _PIECE.findall(text):
        choice = {"index": 0, "delta": {"role": "assistant", "content": piece}, "finish_reason": None}
        yield ChatChunk(msgspec.json.encode(frame | {"choices": [choice]}), text=piece)
    done = {"index": 0, "delta": {}, "finish_reason": "stop"}
    yield ChatChunk(msgspec.json.encode(frame | {"choices": [done]}), finish="stop")
    options = request.view.get("stream_options")
    if isinstance(options, dict) and options.get("include_usage") is True:
        yield ChatChunk(msgspec.json.encode(frame | {"choices": [], "usage": _counts(usage)}), usage=usage)
    yield ChatChunk(b"[DONE]", usage=usage, last=True)


def _vector(text: str, dimension: int) -> bytes:
    """Each word adds +-1 at places chosen by its hash (feature hashing, Weinberger 2009), so like texts lie close."""
    values = [0.0] * dimension
    for word in re.findall(r"\w+", text.lower()) or [text]:
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        values[int.from_bytes(digest[:4], "little") % dimension] += 1.0 if digest[4] & 1 else -1.0
    norm = math.sqrt(sum(v * v for v in values))
    if norm == 0.0:
        values[0] = norm = 1.0
    return array.array("f", [v / norm for v in values]).tobytes()


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[EchoProvider]:
    yield EchoProvider(settings.dimension)
