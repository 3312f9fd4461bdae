"""Chat completion chunks as the events of a response's stream, in the order the openai SDK's accumulator asks for. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from bascule.core.chat import ChatChunk
from bascule.core.errors import UpstreamInvalid
from bascule.core.responses_wire import CALLS, COMPLETED
from bascule.core.wires.responses_answer import (
    call_item,
    counts_of,
    ended,
    logprobs_of,
    message_item,
    reasoning_item,
    refusal_part,
    text_of,
    text_part,
    usage_of,
)


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: Any = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: Any = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None
    logprobs: Any = None
    index: int = 0


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(_Chunk).decode


class _Open:
    """An item under way: a message or thoughts with one part, or a call."""

    __slots__ = ("index", "item", "logprobs", "part", "pieces")

    def __init__(self, item: dict[str, Any], index: int, part: str = "") -> None:
        self.item = item
        self.index = index
        self.part = part  # output_text | refusal | reasoning_text; "" for a call
        self.pieces: list[str] = []
        self.logprobs: list[Any] = []

    @property
    def place(self) -> dict[str, Any]:
        return {"item_id": self.item["id"], "output_index": self.index}


class ResponseEvents:
    """StreamTranslator. `response`: the response in progress, made by `frame`."""

    def __init__(self, response: dict[str, Any]) -> None:
        self._response = response
        self._number = 0
        self._said: _Open | None = None  # the message or thoughts under way
        self._calls: dict[int, _Open] = {}
        self._items: list[_Open] = []
        self._finish: str | None = None
        self._counts: dict[str, Any] | None = None

    def feed(self, chunk: ChatChunk) -> list[ChatChunk]:
        events: list[ChatChunk] = []
        if self._number == 0:
            events += [self._event(f"response.{name}", response=self._response) for name in ("created", "in_progress")]
        if chunk.last:
            return events + self._end(chunk)
        try:
            found = _decode(chunk.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise UpstreamInvalid("The model's provider sent an event that is not a chat chunk.") from None
        self._counts = found.usage or self._counts
        for choice in found.choices:
            if choice.index == 0:
                self._choice(choice, events)
        return events

    def _choice(self, choice: _Choice, events: list[ChatChunk]) -> None:
        delta = choice.delta or _Delta()
        thought = delta.reasoning_content or delta.reasoning
        if isinstance(thought, str) and thought:
            self._say("reasoning_text", thought, events)
        text = text_of(delta.content) if delta.content else ""
        if text:
            self._say("output_text", text, events, logprobs_of(choice.logprobs))
        if delta.refusal:
            self._say("refusal", delta.refusal, events)
        for call in delta.tool_calls or ():
            self._call(call, events)
        self._finish = choice.finish_reason or self._finish

    def _say(self, part: str, text: str, events: list[ChatChunk], logprobs: list[Any] | None = None) -> None:
        said = self._said
        if said is None or said.part != part:
            events += self._close_said()
            said = self._said = self._open_said(part, events)
        said.pieces.append(text)
        place: dict[str, Any] = {**said.place, "content_index": 0, "delta": text}
        if part == "output_text":
            said.logprobs += logprobs or []
            place["logprobs"] = logprobs or []
        events.append(self._event(f"response.{part}.delta", text if part == "output_text" else "", **place))

    def _open_said(self, part: str, events: list[ChatChunk]) -> _Open:
        thoughts = part == "reasoning_text"
        item = reasoning_item("", "in_progress") if thoughts else message_item([], "in_progress")
        said = self._add(item, part, events)
        shown = _part(part, "", [])
        events.append(self._event("response.content_part.added", **said.place, content_index=0, part=shown))
        return said

    def _add(self, item: dict[str, Any], part: str, events: list[ChatChunk]) -> _Open:
        found = _Open(item, len(self._items), part)
        self._items.append(found)
        events.append(self._event("response.output_item.added", output_index=found.index, item=item))
        return found

    def _call(self, call: _Call, events: list[ChatChunk]) -> None:
        """A call's first piece names it. One without an index is a new call where it brings a name, else the last one goes on."""
        function = call.function or _Function()
        index = call.index
        if index is None:
            index = len(self._calls) if function.name else len(self._calls) - 1
        found = self._calls.get(index)
        if found is None:
            if not function.name:
                raise UpstreamInvalid("The model's provider sent a tool call without a name.")
            events += self._close_said()
            item = call_item(call.id or "", function.name, "", "in_progress")
            found = self._calls[index] = self._add(item, "", events)
        if function.arguments:
            found.pieces.append(function.arguments)
            kind = "response.function_call_arguments.delta"
            events.append(self._event(kind, **found.place, delta=function.arguments))

    def _close_said(self, status: str = COMPLETED) -> list[ChatChunk]:
        said, self._said = self._said, None
        if said is None:
            return []
        whole = "".join(said.pieces)
        part = _part(said.part, whole, said.logprobs)
        said.item = said.item | {"status": status, "content": [part]}
        place = {**said.place, "content_index": 0}
        name = "refusal" if said.part == "refusal" else "text"
        done: dict[str, Any] = {**place, name: whole}
        if said.part == "output_text":
            done["logprobs"] = said.logprobs
        return [
            self._event(f"response.{said.part}.done", **done),
            self._event("response.content_part.done", **place, part=part),
            self._event("response.output_item.done", output_index=said.index, item=said.item),
        ]

    def _close_call(self, call: _Open, status: str) -> list[ChatChunk]:
        whole = "".join(call.pieces)
        call.item = call.item | {"status": status, "arguments": whole}
        kind = "response.function_call_arguments.done"
        return [
            self._event(kind, **call.place, name=call.item["name"], arguments=whole),
            self._event("response.output_item.done", output_index=call.index, item=call.item),
        ]

    def _end(self, chunk: ChatChunk) -> list[ChatChunk]:
        events: list[ChatChunk] = []
        if not self._items:
            self._said = self._open_said("output_text", events)
        counts = self._counts or (counts_of(chunk.usage) if chunk.usage is not None else None)
        ending = ended(self._response, self._finish, [], usage_of(counts) if counts is not None else None)
        status = ending["status"]
        events += self._close_said(status)
        for call in self._calls.values():
            events += self._close_call(call, status)
        ending["output"] = [found.item for found in self._items]
        finish = status
        if status == COMPLETED:
            refused = any(found.part == "refusal" for found in self._items)
            finish = "refusal" if refused else CALLS if self._calls else COMPLETED
        kind = f"response.{status}"
        data = msgspec.json.encode({"type": kind, "sequence_number": self._number, "response": ending})
        return [*events, ChatChunk(data, kind, finish=finish, usage=chunk.usage, last=True)]

    def _event(self, kind: str, said: str = "", /, **fields: Any) -> ChatChunk:
        """`said`: what the event adds to the answer's text."""
        data = msgspec.json.encode({"type": kind, "sequence_number": self._number, **fields})
        self._number += 1
        return ChatChunk(data, kind, said)


def _part(part: str, text: str, logprobs: list[Any]) -> dict[str, Any]:
    if part == "refusal":
        return refusal_part(text)
    return text_part(text, None, logprobs) if part == "output_text" else {"type": part, "text": text}
