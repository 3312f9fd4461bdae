"""Everything that can be asked about an answer: why, why not something else, again, and what two of them have apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from bascule.core.catalogue import AuditLog, Passages, Traces
from bascule.core.documents import Answer
from bascule.core.errors import Conflict
from bascule.core.principals import SCOPE_AUDIT, Principal
from bascule.core.reads import one_entry
from bascule.core.traces import Trace
from bascule.rag.compare import compare
from bascule.rag.expect import WIDE, Expectations, Named
from bascule.rag.explain import view
from bascule.rag.missed import query_of
from bascule.rag.options import RagOptions
from bascule.rag.questions import Questions
from bascule.rag.truth import Truth, asker_of


class Library(Passages, Traces, Named, AuditLog, Protocol):
    """The part of the catalogue that explaining reads, and the log it writes."""


def deeper(options: RagOptions) -> RagOptions:
    """The options with which an expected passage's place is looked for."""
    return msgspec.structs.replace(options, candidates=WIDE, refills=0, max_limit=WIDE)


class Explanations:
    def __init__(
        self,
        library: Library,
        questions: Questions,
        wide: Questions,
        options: RagOptions,
        everything: Callable[[str], Principal],
    ) -> None:
        self._library = library
        self._questions = questions
        self._options = options
        self._expectations = Expectations(library, library, wide)
        self._truth = Truth(library, library, wide, self._expectations, everything)
        self._everything = everything

    async def explain(
        self, principal: Principal, answer_id: str, *, expect: str | None = None, truth: bool = False
    ) -> dict[str, Any]:
        """The trace under this reader's rights now; with `expect`, why that document or text is not in the answer; with `truth`,
        what was hidden from the asker (scope audit, audited). Raises NotFound, ScopeMissing, StorageError."""
        async with one_entry(self._library, principal, "answer.read", answer_id):
            trace = await self._trace(principal, answer_id, truth=truth)
            told = {"truth": await self._truth.tell(principal, trace, expect)} if truth else {}
            found = await view(self._library, principal, trace, self._options)
            if expect:
                found["expected"] = msgspec.to_builtins(await self._expectations.judge(principal, trace, expect))
        return found | told

    async def _trace(self, principal: Principal, answer_id: str, *, truth: bool) -> Trace:
        """For the truth, an auditor may open any trace of the tenant: texts in it still resolve under the auditor's own rights."""
        if truth and principal.can(SCOPE_AUDIT):
            return await self._library.trace(self._everything(principal.tenant), answer_id)
        return await self._library.trace(principal, answer_id)

    async def replay(self, principal: Principal, answer_id: str) -> tuple[Answer, dict[str, Any]]:
        """The same question on today's index: the new answer, and what is different. Whoever asked it has today's rights; an
        administrator replays it with the rights the asker had.

        Raises NotFound, Conflict when a document it was about is gone and its text with it, and what answering raises.
        """
        trace = await self._library.trace(principal, answer_id)
        query = query_of(trace)
        if trace.scrubbed or not query:
            raise Conflict("A document of this answer is gone, and the question with it. Ask again.")
        who = principal if _is_asker(principal, trace) else asker_of(trace)
        asked = trace.asked
        found = await self._questions.answer(
            who,
            query,
            collections=asked.collections if asked else None,
            where=asked.where if asked else {},
            model=(asked.model if asked else trace.model) or None,
        )
        return found, await self.diff(principal, answer_id, found.id)

    async def diff(self, principal: Principal, one: str, other: str) -> dict[str, Any]:
        """What two answers have apart, stage by stage, as this reader may see them. Raises NotFound."""
        views = [await self.explain(principal, answer_id) for answer_id in (one, other)]
        return compare(*views)


def _is_asker(principal: Principal, trace: Trace) -> bool:
    if trace.subject or principal.subject:
        return principal.subject == trace.subject
    return principal.key_id == trace.key_id
