"""The ChatModel over the child's OpenAI-style server."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from bascule.core.calls import Call
from bascule.core.chat import ChatRequest, ChatResponse, ChatStream
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse
from bascule.core.errors import InvalidRequest
from bascule.core.http import HttpClient
from bascule.core.secret import bearer_header
from bascule.plugins.providers._openai import SpeaksOpenai
from bascule.plugins.providers.llama.process import LlamaProcess

# What a caller may say. The library has switches of its own (slots, adapters, caches that callers share): none is reached
# from outside.
FIELDS: Final = frozenset(
    {
        *(
            "model",
            "messages",
            "max_tokens",
            "max_completion_tokens",
            "temperature",
            "top_p",
            "stop",
            "seed",
            "n",
            "user",
        ),
        *(
            "stream",
            "stream_options",
            "presence_penalty",
            "frequency_penalty",
            "logit_bias",
            "logprobs",
            "top_logprobs",
        ),
        *("response_format", "tools", "tool_choice", "parallel_tool_calls"),
    }
)


class LlamaProvider(SpeaksOpenai):
    def __init__(self, process: LlamaProcess, http: HttpClient, *, max_reply_bytes: int) -> None:
        super().__init__(
            "llama",
            "",
            http,
            bearer_header(process.key),
            process.key,
            max_reply_bytes=max_reply_bytes,
            stream_usage=True,
            responses=False,
        )
        self._process = process

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        request = _plain(request, call)
        self._chat_url = await self._process.address() + "/v1/chat/completions"
        return await super().chat(request, call)

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        request = _plain(request, call)
        self._chat_url = await self._process.address() + "/v1/chat/completions"
        return await super().stream(request, call)

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        raise InvalidRequest("A local chat model gives no embeddings.", param="model")


def _plain(request: ChatRequest, call: Call) -> ChatRequest:
    """Without fields that are not OpenAI's: each is told as not supported. Raises InvalidRequest for images and files."""
    for message in request.view.get("messages", ()):
        content: Any = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list) and any(not isinstance(p, dict) or p.get("type") != "text" for p in content):
            raise InvalidRequest("This model reads text only.", param="messages")
    unknown = sorted(request.view.keys() - FIELDS)
    if not unknown:
        return request
    notes = [f"not_supported:{name[:40]}" for name in unknown[:10]]
    call.degraded += [note for note in notes if note not in call.degraded]
    view = {name: value for name, value in request.view.items() if name in FIELDS}
    return msgspec.structs.replace(request, view=view, body=msgspec.json.encode(view))
