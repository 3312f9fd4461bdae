"""OpenAI's messages as Anthropic's system text and turns: parts become content blocks, tool messages become tool results. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from bascule.core.errors import InvalidRequest

_FOREIGN: Final = re.compile(r"[a-z_]{2,20}:")
_FOREIGN_MEMBER: Final = re.compile(rb'"signature"\s*:\s*"(?:[a-z_]{2,20}:|")')


def conversation(messages: list[dict[str, Any]], *, foreign: bool = False) -> tuple[str, list[dict[str, Any]]]:
    """System text, and turns: neighbours of one role become one, as Anthropic wants tool results in one user turn.

    foreign  keep thoughts that another vendor than Anthropic signed (see `is_foreign`): that vendor asks

    Raises InvalidRequest for what has no counterpart.
    """
    system: list[str] = []
    turns: list[dict[str, Any]] = []
    for message in messages:
        role = message["role"]
        if role in ("system", "developer"):
            system.append(_plain_text(message.get("content")))
            continue
        if role not in ("user", "assistant", "tool"):
            raise InvalidRequest(f"This model's provider does not take the role {role[:40]!r}.", param="messages")
        blocks = _blocks(message, foreign)
        role = "assistant" if role == "assistant" else "user"
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"].extend(blocks)
        elif blocks:
            turns.append({"role": role, "content": blocks})
    return "\n\n".join(filter(None, system)), turns


def _blocks(message: dict[str, Any], foreign: bool) -> list[dict[str, Any]]:
    content = message.get("content")
    if message["role"] == "tool":
        return [{"type": "tool_result", "tool_use_id": message.get("tool_call_id"), "content": _result(content)}]
    blocks = _thoughts(message.get("reasoning_details"), foreign) if message["role"] == "assistant" else []
    if isinstance(content, str):
        blocks += [{"type": "text", "text": content}] if content else []
    else:
        blocks += [block for part in content or () if (block := _part(part))]
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        blocks.append({"type": "text", "text": refusal})
    blocks.extend(_tool_use(call) for call in message.get("tool_calls") or ())
    return blocks


def is_foreign(signature: Any) -> bool:
    """Whether a thought was signed by a vendor that takes no part in Anthropic's format: such signatures carry the vendor's
    name and a colon in front, or are empty where it signs nothing, and are refused by every other."""
    return isinstance(signature, str) and (not signature or _FOREIGN.match(signature) is not None)


def without_foreign_thoughts(body: bytes, view: Mapping[str, Any]) -> tuple[bytes, Mapping[str, Any]]:
    """A request in Anthropic's format without the thoughts that another vendor signed; the same objects when it has none."""
    if _FOREIGN_MEMBER.search(body) is None or not isinstance(view.get("messages"), list):
        return body, view
    messages = [kept for message in view["messages"] if (kept := _own_thoughts(message)) is not None]
    cleaned = {**view, "messages": messages}
    return msgspec.json.encode(cleaned), cleaned


def _own_thoughts(message: Any) -> Any:
    """None for a message that was nothing but another vendor's thoughts."""
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list):
        return message
    kept = [
        b
        for b in content
        if not (isinstance(b, dict) and b.get("type") == "thinking" and is_foreign(b.get("signature")))
    ]
    return {**message, "content": kept} if kept else None


def _thoughts(details: Any, foreign: bool) -> list[dict[str, Any]]:
    """Thinking that came with an earlier answer and comes back as it was; without its signature Anthropic does not take it."""
    blocks: list[dict[str, Any]] = []
    for detail in details if isinstance(details, list) else ():
        kind = detail.get("type") if isinstance(detail, dict) else None
        if kind == "reasoning.text" and detail.get("signature") and (foreign or not is_foreign(detail["signature"])):
            blocks.append({"type": "thinking", "thinking": detail.get("text") or "", "signature": detail["signature"]})
        elif kind == "reasoning.encrypted" and detail.get("data"):
            blocks.append({"type": "redacted_thinking", "data": detail["data"]})
    return blocks


def _result(content: Any) -> str | list[dict[str, Any]]:
    """A tool's result: text, or blocks where it holds more than text."""
    if isinstance(content, list) and any(isinstance(p, dict) and p.get("type") != "text" for p in content):
        return [block for part in content if (block := _part(part))]
    return _plain_text(content)


def _part(part: Any) -> dict[str, Any] | None:
    """None for an empty text, which Anthropic refuses."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("text", "refusal"):
        text = part.get(kind) or ""
        return _marked({"type": "text", "text": text}, part) if text else None
    if kind == "image_url":
        return _marked({"type": "image", "source": _image(part.get("image_url"))}, part)
    if kind == "file":
        return _marked(_document(part.get("file")), part)
    raise InvalidRequest(f"This model's provider does not take a part of type {str(kind)[:60]!r}.", param="messages")


def _marked(block: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """With the part's `cache_control`, which callers who know Anthropic's prompt cache add to OpenAI's parts."""
    if isinstance(part.get("cache_control"), dict):
        block["cache_control"] = part["cache_control"]
    return block


def _image(given: Any) -> dict[str, Any]:
    url = given.get("url") if isinstance(given, dict) else given
    if not isinstance(url, str) or not url:
        raise InvalidRequest("An image needs a URL.", param="messages")
    return _base64(url) or {"type": "url", "url": url}


def _document(file: Any) -> dict[str, Any]:
    data = file.get("file_data") if isinstance(file, dict) else None
    source = _base64(data) if isinstance(data, str) else None
    if source is None:
        message = "This model's provider takes a file only as `file_data`, a data URL in base64."
        raise InvalidRequest(message, param="messages")
    block: dict[str, Any] = {"type": "document", "source": source}
    if isinstance(file.get("filename"), str):
        block["title"] = file["filename"]
    return block


def _base64(url: str) -> dict[str, Any] | None:
    """The source of a data URL (RFC 2397) in base64; None for another URL."""
    head, comma, data = url.partition(";base64,")
    if not comma or not head.startswith("data:"):
        return None
    return {"type": "base64", "media_type": head[5:], "data": data}


def _plain_text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(str(p.get("text", "")) for p in content or () if isinstance(p, dict))


def _tool_use(call: Any) -> dict[str, Any]:
    try:
        function = call["function"]
        arguments = msgspec.json.decode(function["arguments"] or "{}")
        return {"type": "tool_use", "id": call["id"], "name": function["name"], "input": arguments}
    except (KeyError, TypeError, msgspec.DecodeError, RecursionError):
        raise InvalidRequest(
            "A tool call needs an id, a function's name and JSON arguments.", param="messages"
        ) from None
