"""Fakes of what answers from documents, for the server over fakes (`testing.server`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from bascule.core.documents import Answer, Hit
from bascule.core.errors import NotFound
from bascule.core.principals import Principal
from bascule.testing.samples import a_chunk, an_answer


class FakeEvent(msgspec.Struct, frozen=True):
    event: str
    data: Any


class FakeQuestions:
    """Answers `found`. `fails` is raised instead, in a stream after its first delta."""

    def __init__(self) -> None:
        self.found = an_answer()
        self.fails: Exception | None = None
        self.asked: list[dict[str, Any]] = []
        self.closed = 0

    async def answer(self, principal: Principal, question: str, **given: Any) -> Answer:
        self.asked.append({"question": question, **given})
        if given["collections"] == ["nowhere"]:
            raise NotFound("There is no such thing, or you may not see it.", param="collections")
        if self.fails is not None:
            raise self.fails
        return self.found

    async def stream(self, principal: Principal, question: str, **given: Any) -> AsyncIterator[FakeEvent]:
        self.asked.append({"question": question, **given})
        if given["collections"] == ["nowhere"]:
            raise NotFound("There is no such thing, or you may not see it.", param="collections")
        try:
            yield FakeEvent("sources", {"sources": []})
            yield FakeEvent("delta", {"text": self.found.answer})
            if self.fails is not None:
                raise self.fails
            for citation in self.found.citations:
                yield FakeEvent("citation", citation)
            yield FakeEvent("done", self.found)
        finally:
            self.closed += 1

    async def search(self, principal: Principal, query: str, **given: Any) -> list[Hit]:
        self.asked.append({"query": query, **given})
        return [Hit(chunk=a_chunk(), score=1.0, parts={"lexical": 1.0})]


class FakeExplanations:
    async def explain(
        self, principal: Principal, answer_id: str, *, expect: str | None = None, truth: bool = False
    ) -> dict[str, Any]:
        if answer_id != "a1":
            raise NotFound("There is no such thing, or you may not see it.")
        return {"id": "a1", "diagnosis": "answered"}

    async def replay(self, principal: Principal, answer_id: str) -> tuple[Answer, dict[str, Any]]:
        await self.explain(principal, answer_id)
        return an_answer(), {}

    async def diff(self, principal: Principal, one: str, other: str) -> dict[str, Any]:
        return {"one": await self.explain(principal, one), "other": await self.explain(principal, other)}
