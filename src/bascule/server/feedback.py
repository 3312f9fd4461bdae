"""Feedback over HTTP: what the asker says of an answer, and questions for golden sets made from it."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from bascule.core.feedback import Candidate, Feedback, Rating
from bascule.core.principals import SCOPE_ASK
from bascule.server.bodies import Body
from bascule.server.route import Inquiry, Route

Text = Annotated[str, msgspec.Meta(max_length=4_000, pattern=r"^[^\x00]*$")]


class FeedbackBody(Body, frozen=True, kw_only=True):
    """`rating`: 1 good, -1 bad. `correction`: what would have been right. It replaces what was said of the answer before."""

    rating: Rating
    correction: Text = ""
    note: Text = ""


class CandidatesQuery(Body, frozen=True, kw_only=True):
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 200


class CandidateList(msgspec.Struct, frozen=True):
    data: list[Candidate]
    object: str = "list"


async def give_feedback(inquiry: Inquiry) -> Feedback:
    """PUT /v1/answers/{id}/feedback."""
    body: FeedbackBody = inquiry.body
    given = Feedback(
        answer_id=inquiry.id, rating=body.rating, correction=body.correction.strip(), note=body.note.strip()
    )
    return await inquiry.app.catalogue.give_feedback(inquiry.principal, given)


async def list_candidates(inquiry: Inquiry) -> CandidateList:
    """GET /v1/candidates."""
    wanted: CandidatesQuery = inquiry.query
    return CandidateList(await inquiry.app.catalogue.candidates(inquiry.principal, wanted.limit))


FEEDBACK_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="PUT",
        path="/v1/answers/{id}/feedback",
        handler=give_feedback,
        scope=SCOPE_ASK,
        tag="Evaluation",
        summary="Say whether an answer of yours was good, and what would have been right",
        body=FeedbackBody,
        returns=Feedback,
    ),
    Route(
        method="GET",
        path="/v1/candidates",
        handler=list_candidates,
        scope=SCOPE_ASK,
        tag="Evaluation",
        summary="Questions for golden sets, made from your feedback; from all of the tenant's for an administrator",
        query=CandidatesQuery,
        returns=CandidateList,
    ),
)
