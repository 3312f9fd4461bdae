"""Questions over HTTP: answers (whole or streamed), search, explain, passages and collections."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import msgspec

from bascule.core.documents import Answer
from bascule.core.errors import InvalidRequest, NotFound
from bascule.server.bodies import AnswerBody, PassageQuery, SearchBody
from bascule.server.cache_wishes import cache_wishes
from bascule.server.conversation import question_of
from bascule.server.exchange import Events, Header, Reply, event
from bascule.server.failures import header_value
from bascule.server.route import Inquiry
from bascule.server.views import ChunkView, HitList, HitView, PassageView

if TYPE_CHECKING:
    from bascule.bootstrap import App
    from bascule.rag.events import AnswerEvent
    from bascule.rag.questions import Questions


def questions_of(app: App) -> Questions:
    """Raises NotFound when this server is a gateway only."""
    if app.questions is None:
        raise NotFound("This server is a gateway only: [rag] enabled is false.")
    return app.questions


async def answer(inquiry: Inquiry) -> Reply | Events:
    """POST /v1/answers."""
    body: AnswerBody = inquiry.body
    question, messages = _question(body)
    questions = questions_of(inquiry.app)
    asked: dict[str, Any] = {
        "messages": messages,
        "collections": body.collections,
        "where": body.filter,
        "model": body.model,
        "directives": cache_wishes(inquiry.exchange),
    }
    if body.stream:
        return Events(encode_events(questions.stream(inquiry.principal, question, **asked)))
    found = await questions.answer(inquiry.principal, question, **asked)
    return Reply(200, msgspec.json.encode(found), headers=answer_headers(found))


async def encode_events(events: AsyncIterator[AnswerEvent]) -> AsyncIterator[bytes]:
    """Each AnswerEvent as one server-sent event of its name; the iterator is closed with this one."""
    try:
        async for item in events:
            yield event(msgspec.json.encode(item.data), item.event)
    finally:
        aclose = getattr(events, "aclose", None)
        if aclose is not None:
            await aclose()


async def search(inquiry: Inquiry) -> HitList:
    """POST /v1/search."""
    body: SearchBody = inquiry.body
    hits = await questions_of(inquiry.app).search(
        inquiry.principal, body.query, collections=body.collections, limit=body.limit, where=body.filter
    )
    return HitList([HitView.of(hit) for hit in hits], list(lacks(inquiry.app)))


async def passage(inquiry: Inquiry) -> PassageView:
    """GET /v1/passages/{id}."""
    wanted: PassageQuery = inquiry.query
    found = await inquiry.app.catalogue.passage(inquiry.principal, inquiry.id)
    around = []
    if wanted.around:
        around = await inquiry.app.catalogue.neighbours(inquiry.principal, inquiry.id, wanted.around, wanted.around)
    return PassageView(ChunkView.of(found), [ChunkView.of(chunk) for chunk in around])


def answer_headers(found: Answer) -> tuple[Header, ...]:
    headers: list[Header] = [(b"x-bascule-cache", header_value(found.cache))]
    if found.degraded:
        headers.append((b"x-bascule-degraded", header_value(", ".join(found.degraded))))
    return tuple(headers)


def lacks(app: App) -> list[str]:
    """The codes of what was missing at start, e.g. "lexical_only" (law 11); the words are for the operator."""
    return [note.partition(":")[0] for note in app.degraded]


def _question(body: AnswerBody) -> tuple[str, list[dict[str, str]] | None]:
    if (body.question is None) == (body.messages is None):
        raise InvalidRequest("Give `question` or `messages`, one of the two.", param="question")
    if body.messages is None:
        assert body.question is not None
        if not body.question.strip():
            raise InvalidRequest("The question is empty.", param="question")
        return body.question, None
    return question_of([msgspec.to_builtins(message) for message in body.messages])
