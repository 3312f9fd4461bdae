"""Anthropic's stream, written from OpenAI's chunks: one content block after the other, each started, filled and stopped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from bascule.core.calls import Usage
from bascule.core.chat import ChatChunk
from bascule.core.errors import UpstreamInvalid
from bascule.core.wires.anthropic_words import message_usage, stop_of


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None
    stop_reason: Any = None


class _Chunk(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    choices: list[_Choice] = []


_decode: Final = msgspec.json.Decoder(_Chunk).decode
_encode: Final = msgspec.json.Encoder().encode


class MessageWriter:
    """See `StreamTranslator`. message_start, ping, (content_block_start, content_block_delta..., content_block_stop)...,
    message_delta with the usage, message_stop.

    Raises UpstreamInvalid for a chunk that is not one, and for a tool call that goes on after another one has begun.
    """

    def __init__(self, model: str, stop_sequences: Sequence[str], *, thinking: bool) -> None:
        self._model = model
        self._sequences = stop_sequences
        self._thinking = thinking
        self._started = False
        self._index = -1
        self._kind = ""  # of the open block: "text", "thinking", "tool_use", or "" when none is open
        self._tool: tuple[int, str] = (-1, "")  # index and id of the last tool call begun
        self._begun: set[int] = set()  # indexes of all tool calls begun
        self._finish: str | None = None
        self._matched: object = None
        self._usage: Usage | None = None

    def feed(self, chunk: ChatChunk) -> list[ChatChunk]:
        self._usage = chunk.usage or self._usage
        if chunk.last:
            return [*self._start(None), *self._end()]
        try:
            found = _decode(chunk.data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise UpstreamInvalid("The model's provider sent an event that is not a chat chunk.") from None
        events = self._start(found)
        for choice in found.choices:
            if choice.index == 0:
                events += self._choice(choice)
        return events

    def _choice(self, choice: _Choice) -> list[ChatChunk]:
        events: list[ChatChunk] = []
        delta = choice.delta
        if delta is not None:
            reasoning = delta.reasoning_content or delta.reasoning
            if reasoning and self._thinking:
                events += self._piece("thinking", "thinking_delta", reasoning)
            if delta.content:
                events += self._piece("text", "text_delta", delta.content)
            if delta.refusal:
                self._finish = "refusal"
                events += self._piece("text", "text_delta", delta.refusal)
            for call in delta.tool_calls or ():
                events += self._call(call)
        self._finish = self._finish or choice.finish_reason
        self._matched = choice.stop_reason or self._matched
        return events

    def _start(self, found: _Chunk | None) -> list[ChatChunk]:
        if self._started:
            return []
        self._started = True
        message: dict[str, Any] = {
            "id": (found and found.id) or "msg_0",
            "type": "message",
            "role": "assistant",
            "model": (found and found.model) or self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": message_usage(self._usage or Usage()),
        }
        return [_event("message_start", {"message": message}), _event("ping", {})]

    def _piece(self, kind: str, delta: str, text: str) -> list[ChatChunk]:
        """A piece of text or thinking, with the start of its block where it is the first."""
        events = []
        if self._kind != kind:
            block = {"type": kind, kind: ""}
            if kind == "thinking":
                block["signature"] = ""
            events = self._open(kind, block)
        piece = {"index": self._index, "delta": {"type": delta, kind: text}}
        return [*events, _event("content_block_delta", piece, text=text if kind == "text" else "")]

    def _call(self, call: _Call) -> list[ChatChunk]:
        function = call.function or _Function()
        place = call.index if call.index is not None else self._tool[0] + (1 if call.id else 0)
        # Some vendors give every call the index 0; then its id tells it from the one before.
        same = place == self._tool[0] and call.id in (None, "", self._tool[1])
        events: list[ChatChunk] = []
        if not same or self._kind != "tool_use":
            if not function.name or (same and self._tool[1]) or (place in self._begun and place != self._tool[0]):
                raise UpstreamInvalid("The model's provider sent a tool call that goes on after another has begun.")
            self._tool = (place, call.id or f"toolu_{len(self._begun)}")
            self._begun.add(place)
            block = {"type": "tool_use", "id": self._tool[1], "name": function.name, "input": {}}
            events = self._open("tool_use", block)
        if function.arguments:
            piece = {"type": "input_json_delta", "partial_json": function.arguments}
            events.append(_event("content_block_delta", {"index": self._index, "delta": piece}))
        return events

    def _open(self, kind: str, block: dict[str, Any]) -> list[ChatChunk]:
        events = self._close()
        self._index += 1
        self._kind = kind
        return [*events, _event("content_block_start", {"index": self._index, "content_block": block})]

    def _close(self) -> list[ChatChunk]:
        if not self._kind:
            return []
        self._kind = ""
        return [_event("content_block_stop", {"index": self._index})]

    def _end(self) -> list[ChatChunk]:
        reason, sequence = stop_of(self._finish, self._matched, self._sequences, tools=bool(self._begun))
        usage = self._usage or Usage()
        stop = {"delta": {"stop_reason": reason, "stop_sequence": sequence}, "usage": message_usage(usage)}
        return [
            *self._close(),
            _event("message_delta", stop, finish=reason),
            ChatChunk(b'{"type":"message_stop"}', "message_stop", usage=self._usage, last=True),
        ]


def _event(name: str, fields: dict[str, Any], *, text: str = "", finish: str | None = None) -> ChatChunk:
    return ChatChunk(_encode({"type": name, **fields}), name, text, finish)
