"""Refuses what no target should see: unknown models, malformed or oversized bodies, fields that choose where a call goes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from bascule.core.calls import Call
from bascule.core.chat import ChatRequest, ChatResponse, ChatStream
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse
from bascule.core.errors import InvalidRequest, NotFound, TooLarge
from bascule.gateway.layer import Model
from bascule.gateway.routes import Options, Route

# Some vendors' SDKs and gateways take these from the body; here only the operator chooses URLs, headers and credentials.
FORBIDDEN: Final = frozenset(
    {
        "api_base", "base_url", "api_key", "api_version", "api_type", "extra_headers", "headers", "default_headers",
        "organization", "custom_llm_provider", "azure_endpoint", "azure_ad_token", "aws_access_key_id",
        "aws_secret_access_key", "aws_session_token", "aws_region_name", "aws_bedrock_runtime_endpoint",
        "vertex_project", "vertex_location", "vertex_credentials", "proxy", "proxies", "http_client",
    }
)  # fmt: skip
MAX_TEXTS: Final = 2048
_ESCAPED_ASCII: Final = re.compile(rb"\\u00[2-7]")


class ModelNotFound(NotFound):
    code = "model_not_found"


class Guard:
    """Raises InvalidRequest, TooLarge, or ModelNotFound (404 `model_not_found`, as OpenAI says it)."""

    __slots__ = ("_next", "_options", "_routes")

    def __init__(self, next: Model, routes: Mapping[str, Route], options: Options) -> None:
        self._next = next
        self._routes = routes
        self._options = options

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        self._check_chat(request, call)
        return await self._next.chat(request, call)

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        self._check_chat(request, call)
        return await self._next.stream(request, call)

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        self._check_model(request.model, call)
        if not request.texts or not all(request.texts):
            raise InvalidRequest("Give at least one text, and none that is empty.", param="input")
        if len(request.texts) > MAX_TEXTS:
            raise TooLarge(f"At most {MAX_TEXTS} texts at once.", param="input")
        if sum(map(len, request.texts)) > self._options.max_request_bytes:
            raise TooLarge("The texts are too large.", param="input")
        return await self._next.embed(request, call)

    def _check_model(self, model: str, call: Call) -> None:
        if model not in self._routes:
            raise ModelNotFound("There is no model of this name. GET /v1/models lists them.", param="model")
        call.route = model

    def _check_chat(self, request: ChatRequest, call: Call) -> None:
        view, body = request.view, request.body
        self._check_model(request.model, call)
        if len(body) > self._options.max_request_bytes:
            raise TooLarge(f"The request is larger than {self._options.max_request_bytes} bytes.")
        if not FORBIDDEN.isdisjoint(view):
            field = sorted(FORBIDDEN.intersection(view))[0]
            raise InvalidRequest(f"The field {field!r} is not accepted: only the operator chooses it.", param=field)
        _check_messages(view)
        _check_duplicates(view, body)
        # Counting brackets is far cheaper than walking; only a body that could be too deep is walked.
        limit = self._options.max_depth
        if body.count(b"[") + body.count(b"{") > limit and _deeper_than(view, limit):
            raise TooLarge(f"The request is nested deeper than {limit} levels.")


def _check_messages(view: Mapping[str, Any]) -> None:
    messages = view.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("Give at least one message.", param="messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise InvalidRequest("A message is an object with a role.", param=f"messages.{index}")
        content = message.get("content")
        if content is not None and not isinstance(content, (str, list)):
            raise InvalidRequest("A message's content is a text or a list of parts.", param=f"messages.{index}.content")


def _check_duplicates(view: Mapping[str, Any], body: bytes) -> None:
    """A key given twice is one thing to us and may be another to the vendor, and the cache would mix the two up."""
    suspect = any(body.count(b'"%s"' % key.encode("utf-8", "replace")) > 1 for key in view)
    if not suspect and not _ESCAPED_ASCII.search(body):
        return
    seen: list[str] = []

    def top(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen[:] = [key for key, _ in pairs]
        return dict(pairs)

    try:
        json.loads(body, object_pairs_hook=top)
    except (ValueError, RecursionError):
        raise InvalidRequest("The body is not valid JSON.") from None
    if len(seen) != len(set(seen)):
        raise InvalidRequest("The body names a field twice.")


def _deeper_than(value: object, limit: int) -> bool:
    level: list[object] = [value]
    for _ in range(limit):
        deeper: list[object] = []
        for item in level:
            if isinstance(item, dict):
                deeper.extend(v for v in item.values() if isinstance(v, (dict, list)))
            elif isinstance(item, list):
                deeper.extend(v for v in item if isinstance(v, (dict, list)))
        if not deeper:
            return False
        level = deeper
    return True
