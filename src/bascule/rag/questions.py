"""A question, from top to bottom.

rewrite > retrieve > check > fuse > rerank > prompt > answer > cite > verify > trace

Every step is a file; this one joins them. A streamed answer and a whole one are the same events, read differently. Nothing
here is kept between questions: the model call may come from the gateway's cache, retrieval always runs (law 3).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Final

from bascule.core.calls import CacheDirectives
from bascule.core.catalogue import Passages, Traces
from bascule.core.chat import ChatModel
from bascule.core.deadlines import Deadline
from bascule.core.documents import Answer, Hit
from bascule.core.embedding import Embedder
from bascule.core.errors import BasculeError, Conflict, InvalidRequest, UpstreamError
from bascule.core.filter_grammar import read_filter
from bascule.core.ids import new_id
from bascule.core.judging import Judge
from bascule.core.principals import Principal
from bascule.core.reranking import Reranker
from bascule.core.traces import Asked, Trace
from bascule.core.vectors import VectorStore
from bascule.rag import closeness, extract, rewrite
from bascule.rag.advice import Adviser
from bascule.rag.analyse import Analysis, analyse
from bascule.rag.closeness import Closeness
from bascule.rag.compose import ByModel, ByQuotation
from bascule.rag.draft import Draft
from bascule.rag.embedders import Embedders
from bascule.rag.entail import Entailment, SecondLook
from bascule.rag.events import AnswerEvent, DoneEvent, ErrorEvent, Source, SourcesData, SourcesEvent
from bascule.rag.explain import Trail, diagnose_refusal, view
from bascule.rag.find import Finder
from bascule.rag.inquiry import EXTRACTIVE, MODEL_FAILED, NO_MODEL, Found, Inquiry, Outcome
from bascule.rag.options import RagOptions
from bascule.rag.reorder import Reordering
from bascule.rag.retrieve import Retriever

logger = logging.getLogger(__name__)
_TRIES: Final = 3  # a source that changes while the answer is made makes it again

__all__ = ["AnswerEvent", "Questions"]


class Questions:
    """Search, answer and explain, over ports alone. `chat` is the gateway; without it answers are extractive. `embedder`: the one
    model there is, where there are not several `embedders`."""

    def __init__(
        self,
        *,
        passages: Passages,
        traces: Traces,
        store: VectorStore,
        embedder: Embedder | None = None,
        embedders: Embedders | None = None,
        chat: ChatModel | None,
        options: RagOptions,
        adviser: Adviser | None = None,
        reranker: Reranker | None = None,
        judge: Judge | None = None,
    ) -> None:
        self._passages = passages
        self._traces = traces
        self._options = options
        second: SecondLook | None = Entailment(judge, options) if judge is not None else None
        if options.judge == "model":
            second = adviser
        self._by_model = ByModel(chat, second, options) if chat is not None else None
        closeness = Closeness(options)
        self._by_quotation = ByQuotation(closeness, options)
        retriever = Retriever(passages, store, embedders or Embedders(embedder), options)
        self._finder = Finder(passages, retriever, Reordering(reranker, closeness, options), adviser, options)

    async def search(
        self,
        principal: Principal,
        query: str,
        *,
        collections: Sequence[str] | None = None,
        limit: int = 10,
        where: Mapping[str, Any] | None = None,
    ) -> list[Hit]:
        """The best `limit` passages this principal may read, scores 0..1 over its own hits.

        Raises InvalidRequest, NotFound (a collection missing or closed), StorageError, LimitExceeded (embedding).
        """
        if not 1 <= limit <= self._options.max_limit:
            raise InvalidRequest(f"limit is from 1 to {self._options.max_limit}.", param="limit")
        ask = self._ask(principal, query, None, collections, where, None, None, stream=False, name="query")
        hits = list((await self._finder.find(ask, Trail(), wanted=limit)).hits[:limit])
        await self._note(ask, "search.read", "", [h.chunk.document_id for h in hits])
        return hits

    async def answer(
        self,
        principal: Principal,
        question: str,
        *,
        messages: Sequence[Mapping[str, Any]] | None = None,
        collections: Sequence[str] | None = None,
        where: Mapping[str, Any] | None = None,
        model: str | None = None,
        directives: CacheDirectives | None = None,
    ) -> Answer:
        """A whole answer, or a refusal with its reason. A model that fails degrades to extractive (law 11).

        Raises InvalidRequest, NotFound, StorageError, LimitExceeded, PolicyRefused; Conflict when its sources keep changing.
        """
        for attempt in range(_TRIES):
            ask = self._ask(principal, question, messages, collections, where, model, directives, stream=False)
            try:
                return await self._answer(ask)
            except Conflict:
                if attempt == _TRIES - 1:
                    raise
        raise AssertionError("unreachable")

    async def _answer(self, ask: Inquiry) -> Answer:
        async with aclosing(self._events(ask)) as events:
            async for event in events:
                if isinstance(event, DoneEvent):
                    return event.data
        raise AssertionError("every answer ends in done or raises")

    async def stream(
        self,
        principal: Principal,
        question: str,
        *,
        messages: Sequence[Mapping[str, Any]] | None = None,
        collections: Sequence[str] | None = None,
        where: Mapping[str, Any] | None = None,
        model: str | None = None,
        directives: CacheDirectives | None = None,
    ) -> AsyncGenerator[AnswerEvent]:
        """The same answer as events; only verified sentences are sent.

        Raises what `answer` raises before the first event; after it, an `error` event ends the stream.
        """
        ask = self._ask(principal, question, messages, collections, where, model, directives, stream=True)
        begun = False
        try:
            async with aclosing(self._events(ask)) as events:
                async for event in events:
                    begun = True
                    yield event
        except BasculeError as error:
            if not begun:
                raise
            yield ErrorEvent.of(error)

    async def explain(self, principal: Principal, answer_id: str) -> dict[str, Any]:
        """The answer's trace under this reader's rights now. Raises NotFound."""
        trace = await self._traces.trace(principal, answer_id)
        return await view(self._passages, principal, trace, self._options)

    def _ask(
        self,
        principal: Principal,
        question: str,
        messages: Sequence[Mapping[str, Any]] | None,
        collections: Sequence[str] | None,
        where: Mapping[str, Any] | None,
        model: str | None,
        directives: CacheDirectives | None,
        *,
        stream: bool,
        name: str = "question",
    ) -> Inquiry:
        if not question.strip():
            raise InvalidRequest(f"The {name} is empty.", param=name)
        if len(question) > self._options.max_question_chars:
            raise InvalidRequest(
                f"The {name} is longer than {self._options.max_question_chars} characters.", param=name
            )
        before = rewrite.history(question, messages)
        query = rewrite.rewrite(question.strip(), before)
        analysis = analyse(query) if self._options.exact else Analysis(query=query)
        return Inquiry(
            id=new_id(),
            principal=principal,
            question=question.strip(),
            history=before,
            query=analysis.query,
            analysis=analysis,
            collections=None if collections is None else tuple(collections),
            asked_where=where or {},
            where=read_filter(where or {}),
            model=model or self._options.chat_model or EXTRACTIVE,
            extractive=model == EXTRACTIVE,
            deadline=Deadline.after(self._options.timeout_s),
            directives=directives,
            stream=stream,
        )

    async def _events(self, ask: Inquiry) -> AsyncGenerator[AnswerEvent]:
        trail, draft = Trail(), Draft()
        ask = await self._finder.reworded(ask, trail)
        found = await self._finder.find(ask, trail, wanted=self._options.passages, assisted=True)
        outcome = Outcome(degraded=list(found.retrieved.degraded))
        read = [*found.drawn_from, *(h.chunk.document_id for h in found.context)]
        await self._note(ask, "answer.ask", ask.id, read)
        yield SourcesEvent(SourcesData(tuple(Source.of(n, h) for n, h in enumerate(found.context, start=1))))
        if not found.context:
            outcome.reason = "empty_collection" if found.retrieved.nothing_to_read else "no_evidence"
        else:
            async with aclosing(self._content(ask, found, trail, draft, outcome)) as events:
                async for event in events:
                    yield event
        yield DoneEvent(await self._close(ask, found, trail, draft, outcome))

    async def _note(self, ask: Inquiry, act: str, target: str, document_ids: Sequence[str]) -> None:
        """In the audit log, before it is told, where only a role opens these."""
        await self._passages.note_read(ask.principal, act, target, document_ids=document_ids)

    async def _content(
        self, ask: Inquiry, found: Found, trail: Trail, draft: Draft, outcome: Outcome
    ) -> AsyncGenerator[AnswerEvent]:
        """By the model, or from the passages' own sentences when there is none or it fails before saying anything."""
        if self._by_model is not None and ask.model != EXTRACTIVE:
            try:
                async with aclosing(self._by_model.events(ask, found, trail, draft, outcome)) as events:
                    async for event in events:
                        yield event
                return
            except UpstreamError as error:
                logger.warning("the model %r failed (%s); answering from the passages", ask.model, error.code)
                outcome.degraded.append(MODEL_FAILED)
                outcome.diagnosis = "upstream error"
                if draft.text:
                    outcome.status, outcome.reason = "partial", "upstream_error"
                    return
        elif not ask.extractive:
            outcome.degraded.append(NO_MODEL)
        async with aclosing(self._by_quotation.events(ask, found, trail, draft, outcome)) as events:
            async for event in events:
                yield event

    async def _close(self, ask: Inquiry, found: Found, trail: Trail, draft: Draft, outcome: Outcome) -> Answer:
        """The last check of what was used, the trace, the Answer. Raises Conflict when a source has gone meanwhile."""
        used = [] if outcome.status == "refused" else found.packed.chosen
        if used:
            await self._still_there(ask, found)
        answer = Answer(
            id=ask.id,
            status=outcome.status,
            answer=draft.text if used else "",
            citations=draft.citations if used else (),
            reason=outcome.reason,
            cache=outcome.cache,
            usage=_in_all(outcome, trail),
            model=outcome.model,
            degraded=tuple(dict.fromkeys(outcome.degraded)),
        )
        _weigh(ask, found, trail, answer, outcome, self._options)
        if not await self._traces.save_trace(_trace(ask, found, trail, answer, outcome)):
            raise _changed()
        return answer

    async def _still_there(self, ask: Inquiry, found: Found) -> None:
        ids = [c.id for c in found.packed.chosen]
        within = frozenset(c.id for c in found.retrieved.collections)
        if len(await self._passages.check(ask.principal, ids, within, ask.where)) < len(ids):
            raise _changed()


def _changed() -> Conflict:
    return Conflict("The sources changed while the answer was made. Ask again.")


def _in_all(outcome: Outcome, trail: Trail) -> Mapping[str, int]:
    """The answer's tokens and those of the small calls on the way to it."""
    advice = trail.advice_tokens
    if not any(advice.values()):
        return outcome.usage
    return {name: outcome.usage.get(name, 0) + count for name, count in advice.items()}


def _weigh(ask: Inquiry, found: Found, trail: Trail, answer: Answer, outcome: Outcome, options: RagOptions) -> None:
    """The evidence a model had, as an extractive answer has it in its trace; a refusal is diagnosed by it."""
    evidence = trail.facts("verify").get("probability")
    if evidence is None and found.hits:
        scaled = closeness.scaled(found.retrieved.embedder)
        evidence = extract.support(ask.query, found.hits[: options.rerank_depth], scaled=scaled).probability
        trail.add("verify", {"evidence": round(evidence, 4), "needed": extract.SUPPORT_MIN})
    if answer.status == "refused" and outcome.diagnosis is None:
        outcome.diagnosis = diagnose_refusal(
            ask.query, found.hits, found.packed.chosen, found.packed.left_out, evidence=evidence or 0.0
        )


def _trace(ask: Inquiry, found: Found, trail: Trail, answer: Answer, outcome: Outcome) -> Trace:
    chosen = found.packed.chosen
    return Trace(
        id=ask.id,
        tenant=ask.principal.tenant,
        subject=ask.principal.subject,
        key_id=ask.principal.key_id,
        created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        question=ask.question,
        answer=answer.answer,
        status=answer.status,
        reason=answer.reason,
        model=answer.model,
        collections=tuple(c.name for c in found.retrieved.collections),
        stages=trail.stages,
        chunk_ids=tuple(c.id for c in chosen),
        document_ids=tuple(dict.fromkeys([*(c.document_id for c in chosen), *found.drawn_from])),
        diagnosis=outcome.diagnosis or "answered",
        cited=tuple(dict.fromkeys(c.chunk_id for c in answer.citations)),
        asked=Asked(
            collections=ask.collections,
            where=ask.asked_where,
            model=EXTRACTIVE if ask.extractive else ask.model,
            groups=ask.principal.groups,
            unused_groups=ask.principal.unused_groups,
            roles=ask.principal.roles,
            scopes=ask.principal.scopes,
            system=ask.principal.system,
        ),
    )
