"""What one question carries from step to step: how it came, what was found, how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from bascule.core.calls import CacheDirectives, Call
from bascule.core.deadlines import Deadline
from bascule.core.documents import AnswerStatus, Hit
from bascule.core.filters import Filter
from bascule.core.principals import Principal
from bascule.rag import prompt
from bascule.rag.analyse import Analysis
from bascule.rag.explain import Diagnosis
from bascule.rag.retrieve import Retrieved

EXTRACTIVE: Final = "extractive"
NO_MODEL: Final = "no_model"
MODEL_FAILED: Final = "model_failed"
STEP_SHARE: Final = (
    1 / 3
)  # of what is left, for a step that can be done without: no number of slow ones uses all of it up


class Inquiry(msgspec.Struct, frozen=True, kw_only=True):
    """One question as it came, with the deadline all of it shares."""

    id: str
    principal: Principal
    question: str
    history: tuple[tuple[str, str], ...]
    query: str
    analysis: Analysis  # of the asker's own words, whatever a model makes of them
    collections: tuple[str, ...] | None
    asked_where: Mapping[str, Any]  # as it came
    where: Filter
    model: str
    extractive: bool  # asked for, not for want of a model
    deadline: Deadline
    directives: CacheDirectives | None
    stream: bool

    def call(
        self,
        *,
        timeout_s: float | None = None,
        share: float = 1.0,
        document_ids: frozenset[str] = frozenset(),
        directives: CacheDirectives | None = None,
    ) -> Call:
        """A call of its own within what is left, or with `timeout_s` within that and `share` of what is left. Raises
        UpstreamTimeout when nothing is."""
        left_s = self.deadline.check()
        deadline = self.deadline if timeout_s is None else Deadline.after(min(timeout_s, share * left_s))
        return Call(self.principal, deadline, directives=directives or self.directives, document_ids=document_ids)


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer can be made from: reranked hits, the passages that fit, and the prompt's leftovers.

    `drawn_from`: documents whose passages a further search was drawn from; their words may be in the trace.
    """

    retrieved: Retrieved
    hits: tuple[Hit, ...]
    packed: prompt.Packed
    drawn_from: tuple[str, ...] = ()

    @property
    def context(self) -> tuple[Hit, ...]:
        chosen = {c.id for c in self.packed.chosen}
        return tuple(h for h in self.hits if h.chunk.id in chosen)


class Outcome(msgspec.Struct, kw_only=True):
    """How an answer ended; the Answer and its trace are made of it."""

    status: AnswerStatus = "refused"
    reason: str | None = None
    model: str = EXTRACTIVE
    cache: str = "BYPASS"
    usage: Mapping[str, int] = {}
    degraded: list[str] = msgspec.field(default_factory=list)
    diagnosis: Diagnosis | None = None
