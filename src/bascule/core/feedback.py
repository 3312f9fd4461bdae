"""What people say of answers they got: a thumb, and what would have been right.

A correction may repeat what documents say: it is scrubbed with the documents of its answer (law 4).
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from bascule.core.principals import Principal

Rating = Literal[-1, 1]


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """On one answer, by whoever asked. `scrubbed`: its texts have gone with a document of the answer."""

    answer_id: str
    rating: Rating
    correction: str = ""
    note: str = ""
    given_at: str = ""
    scrubbed: bool = False


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A question for a golden set, to be looked at by a person: made from feedback. `documents`: ids of what a good answer cited;
    `answer`: the correction. A bad answer without a correction has neither."""

    question: str
    documents: tuple[str, ...] = ()
    answer: tuple[str, ...] = ()
    collections: tuple[str, ...] = ()


class FeedbackStore(Protocol):
    async def give_feedback(self, principal: Principal, feedback: Feedback) -> Feedback:
        """On the principal's own answer alone, in place of what was said of it before. Texts are kept only while every document of
        the answer lives. Raises NotFound."""
        ...

    async def candidates(self, principal: Principal, limit: int) -> list[Candidate]:
        """Newest first: from the principal's own feedback, or all of the tenant's for an admin."""
        ...
