"""Refuses what no target should see: unknown models, malformed or oversized bodies, fields that choose where a call goes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from bascule.core.calls import Call
from bascule.core.chat import ANTHROPIC_MESSAGES, OPENAI_CHAT, OPENAI_RESPONSES, ChatRequest, ChatResponse, ChatStream
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse
from bascule.core.errors import InvalidRequest, NotFound, TooLarge
from bascule.gateway.guard_fields import FORBIDDEN, check_fields
from bascule.gateway.layer import Model
from bascule.gateway.routes import Options, Route

__all__ = ["FORBIDDEN", "Guard", "ModelNotFound"]

MAX_TEXTS: Final = 2048
MAX_MESSAGES: Final = 10_000
MAX_LABEL_CHARS: Final = 256
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
        self._route(request.model, call)
        if not request.texts or not all(request.texts):
            raise InvalidRequest("Give at least one text, and none that is empty.", param="input")
        if len(request.texts) > MAX_TEXTS:
            raise TooLarge(f"At most {MAX_TEXTS} texts at once.", param="input")
        if sum(map(len, request.texts)) > self._options.max_request_bytes:
            raise TooLarge("The texts are too large.", param="input")
        if request.user:
            call.end_user = _label(request.user)
        return await self._next.embed(request, call)

    def _route(self, model: str, call: Call) -> Route:
        route = self._routes.get(model)
        if route is None:
            raise ModelNotFound("There is no model of this name. GET /v1/models lists them.", param="model")
        call.route = model
        return route

    def _check_chat(self, request: ChatRequest, call: Call) -> None:
        view, body = request.view, request.body
        route = self._route(request.model, call)
        if len(body) > self._options.max_request_bytes:
            raise TooLarge(f"The request is larger than {self._options.max_request_bytes} bytes.")
        # Counting brackets is far cheaper than walking; only a body that could be too deep is walked.
        limit = self._options.max_depth
        if body.count(b"[") + body.count(b"{") > limit and _deeper_than(view, limit):
            raise TooLarge(f"The request is nested deeper than {limit} levels.")
        check_fields(view, remote_tools=route.remote_tools)
        check = _CHECKS.get(request.wire)
        if check is None:
            raise InvalidRequest("Requests of this format are not understood.")
        check(view)
        label = view.get("user") or view.get("safety_identifier") or _user_of(view.get("metadata"))
        if isinstance(label, str):
            call.end_user = _label(label)
        _check_duplicates(view, body)


def _label(text: str) -> str:
    """As it is kept: Postgres reads no NUL."""
    return text[:MAX_LABEL_CHARS].replace("\0", "")


def _user_of(metadata: object) -> object:
    return metadata.get("user_id") if isinstance(metadata, dict) else None


def _check_messages(view: Mapping[str, Any]) -> None:
    messages = view.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("Give at least one message.", param="messages")
    if len(messages) > MAX_MESSAGES:
        raise TooLarge(f"At most {MAX_MESSAGES} messages.", param="messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise InvalidRequest("A message is an object with a role.", param=f"messages.{index}")
        content = message.get("content")
        if content is not None and not isinstance(content, (str, list)):
            raise InvalidRequest("A message's content is a text or a list of parts.", param=f"messages.{index}.content")


def _check_anthropic(view: Mapping[str, Any]) -> None:
    _check_messages(view)
    for index, message in enumerate(view["messages"]):
        content = message.get("content")
        if content is None or (isinstance(content, list) and not all(isinstance(block, dict) for block in content)):
            raise InvalidRequest(
                "A message's content is a text or a list of blocks.", param=f"messages.{index}.content"
            )
    system = view.get("system")
    if system is not None and not isinstance(system, (str, list)):
        raise InvalidRequest("`system` is a text or a list of blocks.", param="system")


def _check_responses(view: Mapping[str, Any]) -> None:
    asked = view.get("input")
    if asked is not None and not isinstance(asked, (str, list)):
        raise InvalidRequest("`input` is a text or a list of items.", param="input")
    if not asked and not view.get("prompt"):
        raise InvalidRequest("Give `input`.", param="input")
    if isinstance(asked, list):
        if len(asked) > MAX_MESSAGES:
            raise TooLarge(f"At most {MAX_MESSAGES} items.", param="input")
        for index, item in enumerate(asked):
            if not isinstance(item, dict):
                raise InvalidRequest("An item of `input` is an object.", param=f"input.{index}")
    instructions = view.get("instructions")
    if instructions is not None and not isinstance(instructions, (str, list)):
        raise InvalidRequest("`instructions` is a text.", param="instructions")


_CHECKS: Final[Mapping[str, Callable[[Mapping[str, Any]], None]]] = {
    OPENAI_CHAT: _check_messages,
    ANTHROPIC_MESSAGES: _check_anthropic,
    OPENAI_RESPONSES: _check_responses,
}


def _check_duplicates(view: Mapping[str, Any], body: bytes) -> None:
    """A key given twice is one thing to us and may be another to the vendor, and the cache would mix the two up."""
    suspect = any(body.count(b'"%s"' % key.encode("utf-8", "replace")) > 1 for key in view)
    if not suspect and not _ESCAPED_ASCII.search(body):
        return
    try:
        json.loads(body, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise InvalidRequest("The body is not valid JSON.") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidRequest("The body names a field twice.")
    return found


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
