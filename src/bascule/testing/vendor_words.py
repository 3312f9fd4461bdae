"""The contract's vendors of OpenAI's chat completions and of Anthropic's messages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from bascule.testing.vendors import Vendor


def sse(data: Any, event: str = "") -> bytes:
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


class OpenaiVendor(Vendor):
    def answer(self, text: str, usage: tuple[int, int]) -> bytes:
        return self._completion({"role": "assistant", "content": text}, "stop", usage)

    def tool_answer(self, name: str, arguments: dict[str, Any]) -> bytes:
        message = {"role": "assistant", "content": None, "tool_calls": [_call(name, arguments)]}
        return self._completion(message, "tool_calls", (11, 7))

    def _completion(self, message: dict[str, Any], finish: str, usage: tuple[int, int]) -> bytes:
        head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m"}
        choices = [{"index": 0, "message": message, "finish_reason": finish}]
        return json.dumps(head | {"choices": choices, "usage": _counts(usage)}).encode()

    def events(self, pieces: Sequence[str], usage: tuple[int, int]) -> list[bytes]:
        return self._events([{"content": piece} for piece in pieces], "stop", usage)

    def tool_events(self, name: str, arguments: dict[str, Any]) -> list[bytes]:
        return self._events([{"tool_calls": [_call(name, arguments) | {"index": 0}]}], "tool_calls", (11, 7))

    def _events(self, deltas: list[dict[str, Any]], finish: str, usage: tuple[int, int]) -> list[bytes]:
        frame = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        steps: list[tuple[dict[str, Any], str | None]] = [({"role": "assistant"}, None)]
        steps += [(delta, None) for delta in deltas]
        steps.append(({}, finish))
        found = [sse(frame | {"choices": [{"index": 0, "delta": d, "finish_reason": f}]}) for d, f in steps]
        return [*found, sse(frame | {"choices": [], "usage": _counts(usage)}), b"data: [DONE]\n\n"]


class AnthropicVendor(Vendor):
    def answer(self, text: str, usage: tuple[int, int]) -> bytes:
        return self._message([{"type": "text", "text": text}], "end_turn", usage)

    def tool_answer(self, name: str, arguments: dict[str, Any]) -> bytes:
        return self._message(
            [{"type": "tool_use", "id": "call_1", "name": name, "input": arguments}], "tool_use", (11, 7)
        )

    def _message(self, content: list[Any], stop: str | None, usage: tuple[int, int]) -> bytes:
        head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_sequence": None}
        counts = {"input_tokens": usage[0], "output_tokens": usage[1]}
        return json.dumps(head | {"content": content, "stop_reason": stop, "usage": counts}).encode()

    def events(self, pieces: Sequence[str], usage: tuple[int, int]) -> list[bytes]:
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces]
        return self._events({"type": "text", "text": ""}, deltas, "end_turn", usage)

    def tool_events(self, name: str, arguments: dict[str, Any]) -> list[bytes]:
        block = {"type": "tool_use", "id": "call_1", "name": name, "input": {}}
        text = json.dumps(arguments)
        deltas = [{"type": "input_json_delta", "partial_json": part} for part in (text[:4], text[4:])]
        return self._events(block, deltas, "tool_use", (11, 7))

    def _events(
        self, block: dict[str, Any], deltas: list[dict[str, Any]], stop: str, usage: tuple[int, int]
    ) -> list[bytes]:
        def event(kind: str, **fields: Any) -> bytes:
            return sse({"type": kind, **fields}, kind)

        begun = json.loads(self._message([], None, (usage[0], 1)))
        return [
            event("message_start", message=begun),
            event("content_block_start", index=0, content_block=block),
            *(event("content_block_delta", index=0, delta=delta) for delta in deltas),
            event("content_block_stop", index=0),
            event("message_delta", delta={"stop_reason": stop}, usage={"output_tokens": usage[1]}),
            event("message_stop"),
        ]

    def error(self, status: int, message: str) -> bytes:
        said = {"type": "invalid_request_error", "message": message}
        return json.dumps({"type": "error", "error": said, "request_id": "req_1"}).encode()


def _call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


def _counts(usage: tuple[int, int]) -> dict[str, int]:
    return {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
