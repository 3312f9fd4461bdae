"""`model="rag/<collection>"` on the chat route: an answer from documents for any OpenAI client, its citations beside it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bascule.core.documents import Answer
from bascule.core.errors import InvalidRequest
from bascule.core.principals import SCOPE_ASK, Principal
from bascule.server.answers import answer_headers, questions_of
from bascule.server.cache_wishes import cache_wishes
from bascule.server.conversation import question_of
from bascule.server.credentials import require
from bascule.server.exchange import Events, Exchange, Reply, Watch, event
from bascule.server.rag_options import rag_options

if TYPE_CHECKING:
    from bascule.bootstrap import App
    from bascule.rag.events import AnswerEvent

NO_ANSWER: Final = "The documents you may read do not answer this."


async def answer_chat(
    app: App, exchange: Exchange, principal: Principal, view: Mapping[str, Any], collection: str
) -> None:
    """Answer from one collection, in the shape of a chat completion, streamed where asked for."""
    require(principal, SCOPE_ASK)
    questions = questions_of(app)
    model = str(view["model"])
    stream = view.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise InvalidRequest("`stream` is true or false.", param="stream")
    question, messages = question_of(view["messages"])
    asked: dict[str, Any] = {
        "messages": messages,
        "collections": [collection],
        "directives": cache_wishes(exchange),
        **rag_options(view),
    }
    with Watch(exchange):
        if stream:
            events = questions.stream(principal, question, **asked)
            options = view.get("stream_options")
            usage = isinstance(options, Mapping) and options.get("include_usage") is True
            await exchange.send_events(Events(_chunks(events, model, exchange.request_id, with_usage=usage)))
            return
        found = await questions.answer(principal, question, **asked)
        await exchange.reply(Reply(200, chat_completion(found, model), headers=answer_headers(found)))


def chat_completion(found: Answer, model: str) -> bytes:
    message = {"role": "assistant", "content": found.answer or NO_ANSWER, "citations": found.citations}
    return msgspec.json.encode(
        {
            "id": found.id,
            "object": "chat.completion",
            "created": int(time.time()),
            "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
            "usage": chat_usage(found.usage),
            "bascule": outcome(found),
        }
    )


async def _chunks(
    events: AsyncIterator[AnswerEvent], model: str, request_id: str, *, with_usage: bool
) -> AsyncIterator[bytes]:
    """Chat completion chunks: the role, the text as it comes, the citations with the finish, [DONE]. An error ends it."""
    writer = _Writer(model, request_id, with_usage=with_usage)
    try:
        begun = False
        async for item in events:
            if not begun:  # what is wrong before the first event is told with its status, not in a stream
                begun = True
                yield writer.chunk({"role": "assistant", "content": ""})
            for part in writer.write(item):
                yield part
            if item.event in ("done", "error"):
                return
    finally:
        aclose = getattr(events, "aclose", None)
        if aclose is not None:
            await aclose()


class _Writer:
    def __init__(self, model: str, request_id: str, *, with_usage: bool) -> None:
        self._head = {
            "id": f"chatcmpl-{request_id}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
        }
        self._with_usage = with_usage
        self._citations: list[Any] = []
        self._spoken = False

    def write(self, item: AnswerEvent) -> list[bytes]:
        data = msgspec.to_builtins(item.data)
        if item.event == "delta":
            self._spoken = self._spoken or bool(data["text"])
            return [self.chunk({"content": data["text"]})]
        if item.event == "citation":
            self._citations.append(data)
            return []
        if item.event == "error":
            return [event(msgspec.json.encode(data), "error")]
        return self._end(data) if item.event == "done" else []

    def _end(self, found: Mapping[str, Any]) -> list[bytes]:
        parts = []
        if not self._spoken:
            parts.append(self.chunk({"content": found.get("answer") or NO_ANSWER}))
        citations = found.get("citations") or self._citations
        parts.append(self.chunk({"citations": citations}, finish="stop"))
        if self._with_usage:
            usage = chat_usage(found.get("usage") or {})
            parts.append(event(msgspec.json.encode({**self._head, "choices": [], "usage": usage})))
        return [*parts, event(b"[DONE]")]

    def chunk(self, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return event(msgspec.json.encode({**self._head, "choices": [choice]}))


def chat_usage(usage: Mapping[str, int]) -> dict[str, int]:
    asked, said = usage.get("input_tokens", 0), usage.get("output_tokens", 0)
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def outcome(found: Answer) -> dict[str, Any]:
    return {
        "answer_id": found.id,
        "status": found.status,
        "reason": found.reason,
        "cache": found.cache,
        "degraded": found.degraded,
    }
