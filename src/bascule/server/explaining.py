"""Answers looked at again over HTTP: why, why not something else, once more, and two side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec

from bascule.core.documents import Answer
from bascule.core.errors import NotFound
from bascule.core.principals import SCOPE_ASK
from bascule.core.traces import TraceFilter, TraceLine
from bascule.server.bodies import Body, LimitQuery, Line
from bascule.server.exchange import Reply
from bascule.server.route import NOT_FOUND, Inquiry, Route, checked_id

if TYPE_CHECKING:
    from bascule.bootstrap import App
    from bascule.rag.explanations import Explanations


class ExplainQuery(Body, frozen=True, kw_only=True):
    """`expect`: a document's id, external id, name or title, or a text: why is it not in the answer? `truth`: also what the
    asker may not read (scope `audit`, written in the audit log first)."""

    expect: Annotated[str, msgspec.Meta(max_length=2000, pattern=r"^[^\x00]*$")] = ""
    truth: bool = False


class AnswersQuery(LimitQuery, frozen=True, kw_only=True):
    """`before`: the `next` of the page before."""

    status: Literal["", "answered", "partial", "refused"] = ""
    collection: Line = ""
    before: Annotated[str, msgspec.Meta(max_length=128, pattern=r"^[^\x00]*$")] = ""


class AnswerList(msgspec.Struct, frozen=True):
    """`next`: what `before` is for the answers further back. A page may be short, or empty, and yet have one."""

    data: list[TraceLine]
    next: str | None
    object: str = "list"


class DiffQuery(Body, frozen=True, kw_only=True):
    """`other`: the id of the answer to compare with."""

    other: Annotated[str, msgspec.Meta(max_length=128)] = ""


class Replayed(msgspec.Struct, frozen=True):
    """The new answer, and what is different from the old one."""

    answer: Answer
    diff: dict[str, Any]


def explanations_of(app: App) -> Explanations:
    """Raises NotFound when this server is a gateway only."""
    if app.explanations is None:
        raise NotFound("This server is a gateway only: [rag] enabled is false.")
    return app.explanations


async def list_answers(inquiry: Inquiry) -> AnswerList:
    """GET /v1/answers."""
    asked: AnswersQuery = inquiry.query
    wanted = TraceFilter(status=asked.status, collection=asked.collection, before=asked.before)
    found = await inquiry.app.catalogue.trace_lines(inquiry.principal, asked.limit, wanted)
    return AnswerList(found.lines, found.next)


async def explain(inquiry: Inquiry) -> Reply:
    """GET /v1/answers/{id}/explain."""
    asked: ExplainQuery = inquiry.query
    found = await explanations_of(inquiry.app).explain(
        inquiry.principal, inquiry.id, expect=asked.expect or None, truth=asked.truth
    )
    return Reply(200, msgspec.json.encode(found))


async def replay(inquiry: Inquiry) -> Replayed:
    """POST /v1/answers/{id}/replay."""
    return Replayed(*await explanations_of(inquiry.app).replay(inquiry.principal, inquiry.id))


async def diff(inquiry: Inquiry) -> Reply:
    """GET /v1/answers/{id}/diff."""
    asked: DiffQuery = inquiry.query
    other = checked_id(asked.other)
    if not other:
        raise NotFound(NOT_FOUND)
    found = await explanations_of(inquiry.app).diff(inquiry.principal, inquiry.id, other)
    return Reply(200, msgspec.json.encode(found))


ANSWER_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/v1/answers",
        handler=list_answers,
        scope=SCOPE_ASK,
        tag="Questions",
        summary="Your answers, newest first, with how each ended; all of the tenant's for an administrator",
        query=AnswersQuery,
        returns=AnswerList,
    ),
    Route(
        method="GET",
        path="/v1/answers/{id}/explain",
        handler=explain,
        scope=SCOPE_ASK,
        tag="Questions",
        summary="Why an answer came out as it did, or why something is not in it",
        query=ExplainQuery,
        returns=dict[str, Any],
    ),
    Route(
        method="POST",
        path="/v1/answers/{id}/replay",
        handler=replay,
        scope=SCOPE_ASK,
        tag="Questions",
        watched=True,
        summary="Ask the same again on today's index, and what is different",
        returns=Replayed,
    ),
    Route(
        method="GET",
        path="/v1/answers/{id}/diff",
        handler=diff,
        scope=SCOPE_ASK,
        tag="Questions",
        summary="What two answers have apart, stage by stage",
        query=DiffQuery,
        returns=dict[str, Any],
    ),
)
