"""Where the texts are in a request, an answer and an event of a stream, in any wire format.

Every string is a text but those under names that are structure (ids, roles, types) or must come back as they went (signed and
encrypted parts, base64, URLs): so a field unknown to us is judged and masked like a known one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from bascule.core.chat import ANTHROPIC_MESSAGES, OPENAI_CHAT, OPENAI_RESPONSES, ChatChunk

KEPT: Final = frozenset(
    {
        "model", "role", "type", "id", "object", "name", "index", "status", "detail", "format", "media_type", "mime_type",
        "tool_call_id", "tool_use_id", "call_id", "item_id", "file_id", "response_id", "previous_response_id", "conversation",
        "finish_reason", "stop_reason", "system_fingerprint", "service_tier", "prompt_cache_key", "obfuscation", "cache_control",
        "signature", "encrypted_content", "encrypted_index", "thinking", "data", "file_data", "b64_json", "url", "image_url",
        "$schema", "$ref", "pattern", "token", "bytes",
    }
)  # fmt: skip
# Their strings are JSON inside JSON: what is put into them is escaped once more.
JSON_NAMES: Final = frozenset({"arguments", "partial_json"})
_CONTENT_FIELDS: Final = ("content", "reasoning_content", "reasoning", "refusal")
_NEUTRAL_EVENTS: Final = frozenset({"ping", "keepalive"})
_ANTHROPIC_FIELDS: Final = {"text_delta": "text", "input_json_delta": "partial_json"}

Change = Callable[[str, bool], str]  # (text, whether it is JSON itself) -> text


def leaves(value: object, name: str = "") -> Iterator[str]:
    """Every text, in order."""
    if isinstance(value, str):
        if value and name not in KEPT:
            yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from leaves(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, name)


def changed(value: Any, change: Change, name: str = "") -> Any:
    """`value` with every text changed, in the order of `leaves`; the very same object where nothing was."""
    if isinstance(value, str):
        return change(value, name in JSON_NAMES) if value and name not in KEPT else value
    if isinstance(value, Mapping):
        copy: dict[str, Any] | None = None
        for key, inner in value.items():
            new = changed(inner, change, key)
            if new is not inner:
                copy = dict(value) if copy is None else copy
                copy[key] = new
        return value if copy is None else copy
    if isinstance(value, list):
        new_items = [changed(inner, change, name) for inner in value]
        return value if all(a is b for a, b in zip(new_items, value, strict=True)) else new_items
    return value


class Slot:
    """A piece of a text that goes on in later events. `channel` names the text; `frame(text)` is an event with this one piece."""

    __slots__ = ("channel", "content", "frame", "holder", "is_json", "key")

    def __init__(
        self,
        channel: tuple[object, ...],
        holder: dict[str, Any],
        key: str,
        frame: Callable[[str], dict[str, Any]],
        *,
        is_json: bool = False,
        content: bool = False,
    ) -> None:
        self.channel = channel
        self.holder = holder
        self.key = key
        self.frame = frame
        self.is_json = is_json
        self.content = content

    @property
    def text(self) -> str:
        return str(self.holder[self.key])


class Event:
    """One event, open for change. `ends`: no text that is under way goes on after it."""

    __slots__ = ("chunk", "dirty", "ends", "slots", "view")

    def __init__(self, wire: str, chunk: ChatChunk) -> None:
        self.chunk = chunk
        self.dirty = False
        self.view: Any = _parsed(chunk.data)
        self.slots: list[Slot] = []
        self.ends = chunk.last or chunk.finish is not None
        if self.view is not None:
            read = _READERS.get(wire)
            if read is not None:
                self.slots = list(read(self.view))
            self.ends = self.ends or (not self.slots and _ends(wire, self.view))

    def write(self, slot: Slot, text: str) -> None:
        if text != slot.text:
            slot.holder[slot.key] = text
            self.dirty = True

    def rewrite(self, change: Change) -> None:
        """Change the texts of an event that carries them whole: one without slots."""
        new = changed(self.view, change)
        self.dirty = self.dirty or new != self.view
        self.view = new

    def to_chunk(self) -> ChatChunk:
        """The chunk as it came where nothing was changed."""
        if not self.dirty:
            return self.chunk
        if isinstance(self.view, dict):
            for choice in self.view.get("choices") or ():
                if isinstance(choice, dict) and choice.get("logprobs"):
                    choice["logprobs"] = None  # it spells out the tokens that were changed
        text = "".join(slot.text for slot in self.slots if slot.content)
        return msgspec.structs.replace(self.chunk, data=msgspec.json.encode(self.view), text=text)


def piece(slot: Slot, event: str, text: str) -> ChatChunk:
    """One more event with a piece of the slot's text."""
    return ChatChunk(msgspec.json.encode(slot.frame(text)), event, text if slot.content else "")


def _parsed(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _ends(wire: str, view: Any) -> bool:
    if not isinstance(view, dict):
        return False
    if wire == OPENAI_CHAT:
        choices = view.get("choices")
        return not choices or any(isinstance(c, dict) and c.get("finish_reason") for c in choices)
    return view.get("type") not in _NEUTRAL_EVENTS


def _chat_slots(view: Any) -> Iterator[Slot]:
    head = {k: v for k, v in view.items() if k not in ("choices", "usage")} if isinstance(view, dict) else {}
    for choice in (view.get("choices") or ()) if isinstance(view, dict) else ():
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if not isinstance(delta, dict):
            continue
        index = choice.get("index", 0)

        def frame(inner: dict[str, Any], index: Any = index) -> dict[str, Any]:
            return {**head, "choices": [{"index": index, "delta": inner, "finish_reason": None}]}

        for field in _CONTENT_FIELDS:
            if isinstance(delta.get(field), str) and delta[field]:
                make = _framed(frame, field)
                yield Slot((index, field), delta, field, make, content=field == "content")
        for call in delta.get("tool_calls") or ():
            function = call.get("function") if isinstance(call, dict) else None
            if isinstance(function, dict) and isinstance(function.get("arguments"), str) and function["arguments"]:
                place = call.get("index", 0)
                yield Slot((index, "tool", place), function, "arguments", _tool_framed(frame, place), is_json=True)


def _framed(frame: Callable[[dict[str, Any]], dict[str, Any]], field: str) -> Callable[[str], dict[str, Any]]:
    return lambda text: frame({field: text})


def _tool_framed(frame: Callable[[dict[str, Any]], dict[str, Any]], place: Any) -> Callable[[str], dict[str, Any]]:
    return lambda text: frame({"tool_calls": [{"index": place, "function": {"arguments": text}}]})


def _message_slots(view: Any) -> Iterator[Slot]:
    delta = view.get("delta") if isinstance(view, dict) else None
    if not isinstance(delta, dict) or view.get("type") != "content_block_delta":
        return
    kind, index = delta.get("type"), view.get("index", 0)
    field = _ANTHROPIC_FIELDS.get(str(kind))
    if field is not None and isinstance(delta.get(field), str) and delta[field]:

        def frame(text: str) -> dict[str, Any]:
            return {"type": "content_block_delta", "index": index, "delta": {"type": kind, field: text}}

        yield Slot((index, field), delta, field, frame, is_json=field == "partial_json", content=field == "text")


def _response_slots(view: Any) -> Iterator[Slot]:
    if not isinstance(view, dict) or not str(view.get("type")).endswith(".delta"):
        return
    if isinstance(view.get("delta"), str) and view["delta"]:
        kind = str(view["type"])
        channel = (kind, view.get("output_index"), view.get("content_index"), view.get("summary_index"))

        def frame(text: str) -> dict[str, Any]:
            return {**view, "delta": text}

        is_text = kind == "response.output_text.delta"
        yield Slot(channel, view, "delta", frame, is_json="arguments" in kind, content=is_text)


_READERS: Final[Mapping[str, Callable[[Any], Iterator[Slot]]]] = {
    OPENAI_CHAT: _chat_slots,
    ANTHROPIC_MESSAGES: _message_slots,
    OPENAI_RESPONSES: _response_slots,
}
