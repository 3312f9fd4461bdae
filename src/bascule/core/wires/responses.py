"""OpenAI's responses, for providers that speak chat completions. Nothing is kept: every request brings its whole conversation."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from bascule.core.chat import OPENAI_CHAT, OPENAI_RESPONSES, ChatRequest, ChatResponse
from bascule.core.errors import UpstreamInvalid, UpstreamRejected
from bascule.core.responses_wire import CALLS, COMPLETED
from bascule.core.wires.responses_answer import ended, frame, output_of, usage_of
from bascule.core.wires.responses_request import chat_body
from bascule.core.wires.responses_stream import ResponseEvents
from bascule.core.wires.translator import StreamTranslator, Translator


class _Responses:
    def to_chat(self, request: ChatRequest) -> tuple[ChatRequest, list[str]]:
        body, dropped = chat_body(request.view, request.model)
        data = msgspec.json.encode(body)
        return ChatRequest(wire=OPENAI_CHAT, body=data, view=body, model=request.model, stream=request.stream), dropped

    def response(self, response: ChatResponse, request: ChatRequest) -> ChatResponse:
        try:
            completion = msgspec.json.decode(response.body)
            choice = completion["choices"][0]
            made = frame(request.view, completion.get("model") or request.model, int(completion.get("created") or 0))
            counts = completion.get("usage")
            usage = usage_of(counts) if isinstance(counts, dict) else None
            made = ended(made, choice.get("finish_reason"), [], usage)
            made["output"] = output_of(choice["message"], choice.get("logprobs"), made["status"])
        except (
            msgspec.DecodeError,
            UnicodeDecodeError,
            RecursionError,
            KeyError,
            IndexError,
            TypeError,
            AttributeError,
            ValueError,
        ):
            raise UpstreamInvalid("The model's provider sent an answer that is not a chat completion.") from None
        return msgspec.structs.replace(
            response, wire=OPENAI_RESPONSES, body=msgspec.json.encode(made), finish=_finish(made)
        )

    def stream(self, request: ChatRequest, created_s: int) -> StreamTranslator:
        return ResponseEvents(frame(request.view, request.model, created_s))

    def error(self, error: UpstreamRejected) -> UpstreamRejected:
        """As it is: OpenAI has one error body for both formats."""
        return error


def _finish(response: dict[str, Any]) -> str:
    calls = any(item["type"] == "function_call" for item in response["output"])
    return CALLS if calls and response["status"] == COMPLETED else str(response["status"])


TRANSLATOR: Final[Translator] = _Responses()
