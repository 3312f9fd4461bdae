"""`model="rag/<collection>"` for callers of Anthropic's messages and OpenAI's responses: the chat route's answer in their format,
its citations where the format has them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bascule.core.calls import Usage
from bascule.core.chat import ANTHROPIC_MESSAGES, OPENAI_CHAT, ChatChunk, ChatRequest, ChatResponse
from bascule.core.errors import BasculeError
from bascule.core.principals import SCOPE_ASK, Principal
from bascule.core.wires import TRANSLATORS
from bascule.core.wires.anthropic import error_body
from bascule.server.answers import answer_headers, questions_of
from bascule.server.cache_wishes import cache_wishes
from bascule.server.conversation import question_of
from bascule.server.credentials import require
from bascule.server.exchange import Events, Exchange, Header, Reply, Watch, event
from bascule.server.rag_chat import NO_ANSWER, chat_completion, chat_usage, outcome
from bascule.server.rag_options import rag_options

if TYPE_CHECKING:
    from bascule.bootstrap import App
    from bascule.rag.events import AnswerEvent

_PROVIDER: Final = "bascule"


async def answer_request(
    app: App, exchange: Exchange, principal: Principal, request: ChatRequest, *headers: Header
) -> None:
    """Answer from the collection that `request.model` names, in the format of `request.wire`, streamed where asked for."""
    require(principal, SCOPE_ASK)
    questions = questions_of(app)
    chat, _ = TRANSLATORS[request.wire].to_chat(request)
    question, messages = question_of(chat.view["messages"])
    asked: dict[str, Any] = {
        "messages": messages,
        "collections": [request.model.partition("/")[2]],
        "directives": cache_wishes(exchange),
        **rag_options(request.view),
    }
    with Watch(exchange):
        if request.stream:
            events = questions.stream(principal, question, **asked)
            await exchange.send_events(Events(_stream(events, request), headers=headers))
            return
        found = await questions.answer(principal, question, **asked)
        body = _whole(chat_completion(found, request.model), request)
        body["bascule"] = outcome(found) | {"citations": found.citations}
        _cite(body, msgspec.to_builtins(found.citations), request.wire)
        await exchange.reply(Reply(200, msgspec.json.encode(body), headers=(*headers, *answer_headers(found))))


def _whole(completion: bytes, request: ChatRequest) -> dict[str, Any]:
    usage = msgspec.json.decode(completion)["usage"]
    made = ChatResponse(
        wire=OPENAI_CHAT,
        body=completion,
        model=request.model,
        provider=_PROVIDER,
        usage=Usage(input_tokens=usage["prompt_tokens"], output_tokens=usage["completion_tokens"]),
        text="",
        finish="stop",
        complete=True,
    )
    translated = TRANSLATORS[request.wire].response(made, request)
    body: dict[str, Any] = msgspec.json.decode(translated.body)
    return body


def _cite(part: Any, citations: Sequence[Mapping[str, Any]], wire: str) -> None:
    """Into every part that holds the answer's text, wherever the format has it."""
    if isinstance(part, list):
        for each in part:
            _cite(each, citations, wire)
    elif isinstance(part, dict):
        if wire == ANTHROPIC_MESSAGES and part.get("type") == "text" and "text" in part:
            part["citations"] = [_found_at(citation) for citation in citations] or None
        elif part.get("type") == "output_text":
            part["annotations"] = [_file(citation) for citation in citations]
        else:
            for each in part.values():
                _cite(each, citations, wire)


def _found_at(citation: Mapping[str, Any]) -> dict[str, Any]:
    """Anthropic's `search_result_location`: the block is the passage, its source the document."""
    return {
        "type": "search_result_location",
        "cited_text": citation["quote"],
        "source": citation["document_id"],
        "title": citation["title"],
        "search_result_index": citation["number"] - 1,
        "start_block_index": 0,
        "end_block_index": 1,
    }


def _file(citation: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAI's `file_citation`."""
    place = {"file_id": citation["document_id"], "filename": citation["title"], "index": citation["number"] - 1}
    return {"type": "file_citation", **place}


async def _stream(events: AsyncIterator[AnswerEvent], request: ChatRequest) -> AsyncIterator[bytes]:
    writer = _Writer(request)
    async with aclosing(_closable(events)) as items:
        async for item in items:
            for part in writer.write(item):
                yield part
            if item.event in ("done", "error"):
                return


async def _closable(events: AsyncIterator[AnswerEvent]) -> AsyncGenerator[AnswerEvent]:
    try:
        async for item in events:
            yield item
    finally:
        aclose = getattr(events, "aclose", None)
        if aclose is not None:
            await aclose()


class _Writer:
    """The answer's events as chunks of a chat, which the format's own translator takes."""

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._translated = TRANSLATORS[request.wire].stream(request, 0)
        self._citations: list[Mapping[str, Any]] = []
        self._begun = False
        self._spoken = False
        self._sent = 0

    def write(self, item: AnswerEvent) -> list[bytes]:
        data = msgspec.to_builtins(item.data)
        parts: list[bytes] = []
        if not self._begun:
            self._begun = True
            parts += self._feed({"role": "assistant", "content": ""})
        if item.event == "delta":
            self._spoken = self._spoken or bool(data["text"])
            parts += self._feed({"content": data["text"]}, text=data["text"])
        elif item.event == "citation":
            self._citations.append(data)
        elif item.event == "error":
            parts.append(self._error(data["error"]))
        elif item.event == "done":
            parts += self._end(data)
        return parts

    def _end(self, found: Mapping[str, Any]) -> list[bytes]:
        parts: list[bytes] = []
        if not self._spoken:
            text = found.get("answer") or NO_ANSWER
            parts += self._feed({"content": text}, text=text)
        self._citations = list(found.get("citations") or self._citations)
        if self._request.wire == ANTHROPIC_MESSAGES:
            for citation in self._citations:
                delta = {"type": "citations_delta", "citation": _found_at(citation)}
                told = {"type": "content_block_delta", "index": 0, "delta": delta}
                parts.append(event(msgspec.json.encode(told), "content_block_delta"))
        parts += self._feed({}, finish="stop")
        counts = chat_usage(found.get("usage") or {})
        usage = Usage(input_tokens=counts["prompt_tokens"], output_tokens=counts["completion_tokens"])
        data = msgspec.json.encode({"choices": [], "usage": counts})
        parts += self._told(self._translated.feed(ChatChunk(data, usage=usage)))
        return parts + self._told(self._translated.feed(ChatChunk(b"[DONE]", last=True)))

    def _feed(self, delta: Mapping[str, Any], text: str = "", finish: str | None = None) -> list[bytes]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        data = msgspec.json.encode({"object": "chat.completion.chunk", "choices": [choice]})
        return self._told(self._translated.feed(ChatChunk(data, text=text, finish=finish)))

    def _told(self, chunks: Sequence[ChatChunk]) -> list[bytes]:
        self._sent += len(chunks)
        return [event(self._with_citations(chunk.data), chunk.event) for chunk in chunks]

    def _with_citations(self, data: bytes) -> bytes:
        if self._request.wire == ANTHROPIC_MESSAGES or b'"annotations"' not in data or not self._citations:
            return data
        told = msgspec.json.decode(data)
        _cite(told, self._citations, self._request.wire)
        return msgspec.json.encode(told)

    def _error(self, told: Mapping[str, Any]) -> bytes:
        if self._request.wire == ANTHROPIC_MESSAGES:
            return event(error_body(BasculeError.http_status, told["message"]), "error")
        top = {"code": told["code"], "message": told["message"], "param": told["param"]}
        return event(
            msgspec.json.encode({"type": "error", "sequence_number": self._sent, **top, "error": told}), "error"
        )
