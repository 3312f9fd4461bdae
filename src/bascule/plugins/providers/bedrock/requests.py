"""OpenAI's chat completions as Converse takes them (shapes: botocore's service model of bedrock-runtime 2023-09-30). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from bascule.core.anthropic_blocks import conversation
from bascule.core.anthropic_options import format_of, tools_of
from bascule.core.errors import InvalidRequest

_TAKEN: Final = frozenset(
    {"model", "messages", "max_tokens", "max_completion_tokens", "stop", "temperature", "top_p", "stream", "tools",
     "tool_choice", "stream_options", "response_format", "reasoning_effort"}
)  # fmt: skip
# Converse's own fields, for callers who know it.
_OWN: Final = frozenset(
    {"guardrailConfig", "performanceConfig", "requestMetadata", "serviceTier", "promptVariables",
     "additionalModelResponseFieldPaths"}
)  # fmt: skip
# OpenAI's fields that no model here knows: sent on they would make the vendor refuse the request.
_OPENAIS: Final = frozenset(
    {"frequency_penalty", "presence_penalty", "seed", "user", "safety_identifier", "store", "metadata", "logit_bias",
     "service_tier", "prompt_cache_key", "prompt_cache_retention", "verbosity", "parallel_tool_calls", "top_logprobs",
     "prediction"}
)  # fmt: skip
_REFUSED: Final[Mapping[str, Callable[[Any], bool]]] = {
    "n": lambda v: v not in (None, 1),
    "logprobs": bool,
    "functions": bool,
    "audio": bool,
    "modalities": lambda v: isinstance(v, list) and v != ["text"],
    "web_search_options": lambda v: v is not None,
}
_EFFORTS: Final = frozenset({"low", "medium", "high", "xhigh", "max"})
_IMAGES: Final = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}
_DOCUMENTS: Final = {
    "application/pdf": "pdf", "text/plain": "txt", "text/csv": "csv", "text/html": "html", "text/markdown": "md",
    "application/msword": "doc", "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
}  # fmt: skip
_NOT_IN_NAMES: Final = re.compile(r"[^0-9A-Za-z()\[\]-]+")
_CACHE: Final[dict[str, Any]] = {"cachePoint": {"type": "default"}}


def to_converse(view: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The body for Converse, and the names of fields that have no counterpart and were left out. Fields nobody knows go on
    as `additionalModelRequestFields`.

    Raises InvalidRequest for what cannot be translated.
    """
    try:
        return _translated(view)
    except (TypeError, KeyError, AttributeError, ValueError, IndexError):
        # A field of another type than its format says: the vendor would refuse it too.
        raise InvalidRequest("The request does not have the shape that its format says.") from None


def _translated(view: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    for field, wanted in _REFUSED.items():
        if wanted(view.get(field)):
            raise InvalidRequest(f"This model's provider does not support {field!r}.", param=field)
    system, turns = conversation(view["messages"])
    messages = [{"role": t["role"], "content": [c for block in t["content"] for c in _block(block)]} for t in turns]
    body: dict[str, Any] = {"messages": messages}
    if system:
        body["system"] = [{"text": system}]
    limits = _inference(view)
    if limits:
        body["inferenceConfig"] = limits
    dropped = _tools(body, view, turns)
    output, unknown_effort = _output(view)
    if output:
        body["outputConfig"] = output
    body |= {name: view[name] for name in _OWN if view.get(name) is not None}
    rest = {k: v for k, v in view.items() if v is not None and k not in _TAKEN | _OWN | _REFUSED.keys()}
    stated = rest.pop("additionalModelRequestFields", None) or {}
    extra = {k: v for k, v in rest.items() if k not in _OPENAIS} | stated
    if extra:
        body["additionalModelRequestFields"] = extra
    return body, sorted([*dropped, *unknown_effort, *(k for k in rest if k in _OPENAIS)])


def _inference(view: Mapping[str, Any]) -> dict[str, Any]:
    stop = view.get("stop")
    found = {
        "maxTokens": view.get("max_completion_tokens") or view.get("max_tokens"),
        "temperature": view.get("temperature"),
        "topP": view.get("top_p"),
        "stopSequences": [stop] if isinstance(stop, str) else stop or None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _output(view: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    found: dict[str, Any] = {}
    wanted = format_of(view.get("response_format"))
    if wanted is not None:
        described = view["response_format"]["json_schema"]
        schema = {"schema": msgspec.json.encode(wanted["schema"]).decode()}
        schema |= {k: described[k] for k in ("name", "description") if isinstance(described.get(k), str)}
        found["textFormat"] = {"type": "json_schema", "structure": {"jsonSchema": schema}}
    effort = view.get("reasoning_effort")
    if effort in _EFFORTS:
        found["effort"] = effort
    return found, ["reasoning_effort"] if effort not in (None, "none", *_EFFORTS) else []


def _tools(body: dict[str, Any], view: Mapping[str, Any], turns: list[dict[str, Any]]) -> list[str]:
    """Put `toolConfig` into `body`; the names of what it cannot say."""
    asked = tools_of({k: v for k, v in view.items() if k != "parallel_tool_calls"})
    choice = asked.get("tool_choice", {})
    used = sorted({b["name"] for t in turns for b in t["content"] if b["type"] == "tool_use"})
    # Converse wants the tools of an earlier turn described even where none may be called any more.
    tools = asked.get("tools") or [{"name": name, "input_schema": {"type": "object"}} for name in used]
    if not tools or (choice.get("type") == "none" and not used):
        return []
    body["toolConfig"] = {"tools": [c for tool in tools for c in _tool(tool)]}
    if choice.get("type") == "tool":
        body["toolConfig"]["toolChoice"] = {"tool": {"name": choice["name"]}}
    elif choice.get("type") in ("any", "auto"):
        body["toolConfig"]["toolChoice"] = {choice["type"]: {}}
    return ["tool_choice"] if choice.get("type") == "none" else []


def _tool(tool: dict[str, Any]) -> list[dict[str, Any]]:
    spec: dict[str, Any] = {"name": tool["name"], "inputSchema": {"json": tool["input_schema"]}}
    if tool.get("description"):
        spec["description"] = tool["description"]
    if tool.get("strict") is not None:
        spec["strict"] = tool["strict"]
    return [{"toolSpec": spec}, *([_CACHE] if "cache_control" in tool else [])]


def _block(block: dict[str, Any]) -> list[dict[str, Any]]:
    kind = block["type"]
    if kind == "tool_use":
        found: dict[str, Any] = {"toolUse": {"toolUseId": block["id"], "name": block["name"], "input": block["input"]}}
    elif kind == "tool_result":
        content = block["content"]
        parts = [{"text": content}] if isinstance(content, str) else [c for part in content for c in _block(part)]
        found = {"toolResult": {"toolUseId": block["tool_use_id"], "content": parts}}
    elif kind == "thinking":
        found = {"reasoningContent": {"reasoningText": {"text": block["thinking"], "signature": block["signature"]}}}
    elif kind == "redacted_thinking":
        found = {"reasoningContent": {"redactedContent": block["data"]}}
    elif kind == "text":
        found = {"text": block["text"]}
    else:
        found = _file(block)
    return [found, *([_CACHE] if "cache_control" in block else [])]


def _file(block: dict[str, Any]) -> dict[str, Any]:
    source = block["source"]
    if source["type"] != "base64":
        message = "This model's provider takes images as data URLs; its operator can allow web URLs (image_urls)."
        raise InvalidRequest(message, param="messages")
    formats = _IMAGES if block["type"] == "image" else _DOCUMENTS
    found = formats.get(source["media_type"])
    if found is None:
        message = f"This model's provider does not take files of type {source['media_type'][:60]!r}."
        raise InvalidRequest(message, param="messages")
    shown: dict[str, Any] = {"format": found, "source": {"bytes": source["data"]}}
    if block["type"] == "image":
        return {"image": shown}
    name = _NOT_IN_NAMES.sub(" ", block.get("title") or "").strip()[:200]
    return {"document": shown | {"name": name or "document"}}
