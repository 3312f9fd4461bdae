"""Any vendor or server that speaks OpenAI's chat completions and embeddings under a base URL of its own, or its responses."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from bascule.core.calls import Call
from bascule.core.chat import OPENAI_CHAT, ChatRequest, ChatResponse, ChatStream
from bascule.core.http import HttpClient
from bascule.core.resources import Resources
from bascule.core.secret import bearer_header
from bascule.plugins.providers._openai import SpeaksOpenai

NAME: Final = "openai"
_LENGTHS: Final = ("max_completion_tokens", "max_tokens")


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str = Field(description="Up to and including the version, e.g. https://api.openai.com/v1.")
    api_key: str | None = Field(None, description='A reference: "env:NAME" or "file:PATH".')
    organization: str | None = Field(None, description="Sent as OpenAI-Organization.")
    max_reply_bytes: int = Field(20_000_000, gt=0, description="Largest answer accepted.")
    stream_usage: bool = Field(True, description="Ask for usage in streams; off for servers that refuse the option.")
    max_tokens_field: Literal["as_sent", "max_tokens", "max_completion_tokens"] = Field(
        "as_sent",
        description="The name under which the vendor takes the longest answer's length, where it knows only one.",
    )
    responses: bool = Field(
        False,
        description="The vendor speaks /responses itself: such requests are forwarded as they are, not translated.",
    )


class OpenaiProvider(SpeaksOpenai):
    def __init__(self, settings: Settings, http: HttpClient, key: str) -> None:
        headers = bearer_header(key) if key else {}
        if settings.organization:
            headers["openai-organization"] = settings.organization
        super().__init__(
            NAME,
            settings.base_url.rstrip("/"),
            http,
            headers,
            key,
            max_reply_bytes=settings.max_reply_bytes,
            stream_usage=settings.stream_usage,
            responses=settings.responses,
        )


class RenamingProvider(OpenaiProvider):
    """For a vendor that knows the longest answer's length under one name only."""

    def __init__(self, settings: Settings, http: HttpClient, key: str) -> None:
        super().__init__(settings, http, key)
        self._field = settings.max_tokens_field

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        return await super().chat(self._renamed(request), call)

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        return await super().stream(self._renamed(request), call)

    def _renamed(self, request: ChatRequest) -> ChatRequest:
        stated = [request.view[name] for name in _LENGTHS if name in request.view]
        if request.wire != OPENAI_CHAT or not stated or (len(stated) == 1 and self._field in request.view):
            return request
        view = {name: value for name, value in request.view.items() if name not in _LENGTHS} | {self._field: stated[0]}
        return msgspec.structs.replace(request, view=view, body=msgspec.json.encode(view))


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[OpenaiProvider]:
    key = resources.secret(settings.api_key) if settings.api_key else ""
    made = OpenaiProvider if settings.max_tokens_field == "as_sent" else RenamingProvider
    yield made(settings, resources.http, key)
