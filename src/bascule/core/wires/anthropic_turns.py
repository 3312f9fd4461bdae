"""Anthropic's system text and turns as OpenAI's messages: tool results become messages of their own, in order."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from bascule.core.errors import InvalidRequest

# Signed by Anthropic and of use to it alone.
_THOUGHTS: Final = frozenset({"thinking", "redacted_thinking"})
FAILED: Final = "The tool failed: "


def to_turns(system: Any, messages: Any) -> tuple[list[dict[str, Any]], set[str]]:
    """OpenAI's messages, and the names of what was left out. Raises InvalidRequest for a block that has no counterpart."""
    dropped: set[str] = set()
    turns: list[dict[str, Any]] = []
    text = _system_text(system)
    if text:
        turns.append({"role": "system", "content": text})
    for message in messages:
        role, content = message["role"], message.get("content")
        if role == "system":
            turns.append({"role": "system", "content": _system_text(content)})
            continue
        if role not in ("user", "assistant"):
            raise InvalidRequest("A message's role is user, assistant or system.", param="messages")
        if isinstance(content, str):
            turns.append({"role": role, "content": content})
            continue
        blocks = [_checked(block) for block in content or ()]
        turns.extend(_assistant(blocks, dropped) if role == "assistant" else _user(blocks, dropped))
    return turns, dropped


def _system_text(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise InvalidRequest("`system` is a text or a list of text blocks.", param="system")
    texts = []
    for block in content:
        if not isinstance(block, dict) or block.get("type") != "text" or not isinstance(block.get("text"), str):
            raise InvalidRequest("`system` takes text blocks only.", param="system")
        texts.append(block["text"])
    return "\n\n".join(texts)


def _checked(block: Any) -> dict[str, Any]:
    if not isinstance(block, dict) or not isinstance(block.get("type"), str):
        raise InvalidRequest("A content block is an object with a type.", param="messages")
    return block


def _assistant(blocks: list[dict[str, Any]], dropped: set[str]) -> list[dict[str, Any]]:
    texts, calls = [], []
    for block in blocks:
        kind = block["type"]
        if kind == "text":
            texts.append(str(block.get("text") or ""))
        elif kind == "tool_use":
            calls.append(_tool_call(block))
        elif kind in _THOUGHTS:
            dropped.add("messages.thinking")
        else:
            raise _unknown(kind)
    if not texts and not calls:
        return []
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) or None}
    if calls:
        message["tool_calls"] = calls
    elif message["content"] is None:
        message["content"] = ""
    return [message]


def _tool_call(block: dict[str, Any]) -> dict[str, Any]:
    name, identity = block.get("name"), block.get("id")
    if not isinstance(name, str) or not isinstance(identity, str):
        raise InvalidRequest("A tool_use block needs an id and a name.", param="messages")
    arguments = msgspec.json.encode(block.get("input") or {}).decode()
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def _user(blocks: list[dict[str, Any]], dropped: set[str]) -> list[dict[str, Any]]:
    """Tool results first, as OpenAI wants them right after the calls; their images, which its tool messages do not take, go
    with the user's own parts."""
    turns: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for block in blocks:
        if block["type"] == "tool_result":
            result, shown = _tool_result(block, dropped)
            turns.append(result)
            parts.extend(shown)
        else:
            parts.extend(_parts(block, dropped))
    if len(parts) == 1 and parts[0]["type"] == "text":
        turns.append({"role": "user", "content": parts[0]["text"]})
    elif parts:
        turns.append({"role": "user", "content": parts})
    return turns


def _tool_result(block: dict[str, Any], dropped: set[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    content = block.get("content")
    identity = block.get("tool_use_id")
    if not isinstance(identity, str):
        raise InvalidRequest("A tool_result block needs a tool_use_id.", param="messages")
    shown: list[dict[str, Any]] = []
    if isinstance(content, list):
        texts = []
        for part in [part for inner in content for part in _parts(_checked(inner), dropped)]:
            if part["type"] == "text":
                texts.append(part["text"])
            else:
                shown.append(part)
        if shown:
            texts.append("(What the tool showed follows in the next message.)")
            shown.insert(0, {"type": "text", "text": f"What the tool showed for call {identity}:"})
        content = "\n".join(texts)
    text = content if isinstance(content, str) else ""
    if block.get("is_error") is True:
        text = FAILED + text
    return {"role": "tool", "tool_call_id": identity, "content": text}, shown


def _parts(block: dict[str, Any], dropped: set[str]) -> list[dict[str, Any]]:
    kind = block["type"]
    if kind == "text":
        return [_text(str(block.get("text") or ""))]
    if kind == "image":
        return [{"type": "image_url", "image_url": {"url": _image_url(block.get("source"))}}]
    if kind == "document":
        return _document(block, dropped)
    if kind == "search_result":
        return [_search_result(block, dropped)]
    raise _unknown(kind)


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _image_url(source: Any) -> str:
    kind = source.get("type") if isinstance(source, dict) else None
    if kind == "base64":
        return f"data:{source.get('media_type')};base64,{source.get('data')}"
    if kind == "url" and isinstance(source.get("url"), str):
        return str(source["url"])
    raise InvalidRequest("This model's provider takes images as base64 or by URL.", param="messages")


def _document(block: dict[str, Any], dropped: set[str]) -> list[dict[str, Any]]:
    source = block.get("source")
    if not isinstance(source, dict):
        raise InvalidRequest("A document needs a source.", param="messages")
    _note_citations(block, dropped)
    head = [f"{name}: {block[name]}" for name in ("title", "context") if block.get(name)]
    kind = source.get("type")
    if kind == "text":
        return [_text("\n".join([*head, str(source.get("data") or "")]))]
    if kind == "content":
        inner = source.get("content")
        listed = [{"type": "text", "text": inner}] if isinstance(inner, str) else inner or []
        parts = [part for item in listed for part in _parts(_checked(item), dropped)]
        return [*([_text("\n".join(head))] if head else []), *parts]
    if kind == "base64":
        file = {
            "filename": str(block.get("title") or "document.pdf"),
            "file_data": f"data:{source.get('media_type')};base64,{source.get('data')}",
        }
        about = [_text(f"context: {block['context']}")] if block.get("context") else []
        return [*about, {"type": "file", "file": file}]
    raise InvalidRequest("This model's provider takes documents as text or base64 only.", param="messages")


def _search_result(block: dict[str, Any], dropped: set[str]) -> dict[str, Any]:
    _note_citations(block, dropped)
    texts = [str(item.get("text") or "") for item in block.get("content") or () if isinstance(item, dict)]
    return _text("\n".join([f"{block.get('title') or ''} ({block.get('source') or ''})", *texts]))


def _note_citations(block: dict[str, Any], dropped: set[str]) -> None:
    citations = block.get("citations")
    if isinstance(citations, dict) and citations.get("enabled"):
        dropped.add("messages.citations")


def _unknown(kind: str) -> InvalidRequest:
    return InvalidRequest(f"This model's provider does not take a block of type {kind[:60]!r}.", param="messages")
