"""The two ways an answer is written: by a model, sentence for sentence checked, or in the passages' own words."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

import msgspec

from bascule.core.calls import Call
from bascule.core.chat import ChatModel, ChatRequest
from bascule.core.documents import Hit, VisibleChunk
from bascule.core.errors import RequestError, UpstreamError
from bascule.rag import cite, closeness, doubt, extract, prompt
from bascule.rag.advice import spent
from bascule.rag.answer import Spoken, speak
from bascule.rag.closeness import Closeness
from bascule.rag.draft import Draft
from bascule.rag.entail import JUDGE_CAPPED, SECOND_LOOKS, SecondLook
from bascule.rag.events import AnswerEvent
from bascule.rag.explain import Trail
from bascule.rag.inquiry import EXTRACTIVE, MODEL_FAILED, Found, Inquiry, Outcome
from bascule.rag.options import RagOptions

logger = logging.getLogger(__name__)
KEPT_S: Final = 1.0


class ByModel:
    """prompt, answer, cite, verify. A sentence is sent once it has been checked, never before."""

    def __init__(self, chat: ChatModel, second: SecondLook | None, options: RagOptions) -> None:
        self._chat = chat
        self._second = second
        self._options = options

    async def events(
        self, ask: Inquiry, found: Found, trail: Trail, draft: Draft, outcome: Outcome
    ) -> AsyncGenerator[AnswerEvent]:
        chunks = found.packed.chosen
        request = prompt.build(
            ask.question, chunks, self._options, model=ask.model, history=ask.history, stream=ask.stream
        )
        # What the model may not use up: with it the passages' own sentences are chosen, should the model not answer.
        left_s = ask.deadline.check()
        call = ask.call(
            timeout_s=max(left_s - KEPT_S, left_s / 2), document_ids=frozenset(c.document_id for c in chunks)
        )
        spoken = Spoken()
        verifier = _Verifier(ask, chunks, self._second)
        with trail.step("answer") as facts:
            try:
                async with aclosing(self._said(request, call, spoken, verifier, draft)) as events:
                    async for event in events:
                        yield event
            finally:
                outcome.model, outcome.cache = ask.model, call.cache
                outcome.usage = _usage(spoken)
                outcome.degraded.extend(call.degraded)
                facts |= {"model": ask.model, "cache": call.cache, "usage": outcome.usage, "complete": spoken.complete}
                facts |= {} if call.cost_usd is None else {"cost_usd": call.cost_usd}
        declined = verifier.declined
        if self._options.repair and draft.dropped and spoken.complete and ask.deadline.left_s():
            async with aclosing(self._repaired(ask, found, verifier, draft)) as events:
                async for event in events:
                    yield event
        outcome.degraded.extend(verifier.facts.pop("lacks", ()))
        _judge(outcome, draft, declined=declined, complete=spoken.complete)
        trail.note("verify", 0.0, _verified(draft) | verifier.facts)

    async def _said(
        self, request: ChatRequest, call: Call, spoken: Spoken, verifier: _Verifier, draft: Draft
    ) -> AsyncGenerator[AnswerEvent]:
        reader = cite.Reader()
        async with aclosing(speak(self._chat, request, call, spoken)) as pieces:
            async for piece in pieces:
                for sentence in reader.feed(piece):
                    for event in draft.add(await verifier.check(sentence)):
                        yield event
        for sentence in reader.close(cut_short=not spoken.complete):
            for event in draft.add(await verifier.check(sentence)):
                yield event

    async def _repaired(
        self, ask: Inquiry, found: Found, verifier: _Verifier, draft: Draft
    ) -> AsyncGenerator[AnswerEvent]:
        """Once more for what was dropped. What stands of it is added; the dropped sentences are then made good, all of them
        when the model's second attempt stands whole. A failure leaves the answer partial, as it was."""
        chunks = found.packed.chosen
        call = ask.call(document_ids=frozenset(c.document_id for c in chunks))
        wrong = draft.take_dropped()
        values = {
            "passages": "\n".join(prompt.quoted(chunks, self._options.prompt_key)),
            "question": " ".join(ask.question.split()),
            "sentences": "\n".join(f"- {checked.text}" for checked in wrong),
        }
        request = prompt.fill(
            "repair.v1", values, model=ask.model, most_tokens=self._options.answer_tokens, stream=ask.stream
        )
        spoken, stood = Spoken(), len(draft.kept)
        told: dict[str, Any] = {"for": "repair", "model": ask.model, "sentences": len(wrong)}
        try:
            async with aclosing(self._said(request, call, spoken, verifier, draft)) as events:
                async for event in events:
                    yield event
        except (UpstreamError, RequestError) as error:
            logger.warning("the answer was not repaired (%s)", error.code)
            told["error"] = error.code
        finally:
            call.usage = spoken.usage
            told["repaired"] = len(draft.kept) - stood
            verifier.facts.setdefault("asked", []).append(told | spent(call))
        if len(draft.kept) == stood:
            draft.dropped[:0] = wrong


class _Verifier:
    """Holds each sentence against the passages; a second look must agree where there is one. Notes a reply that declines."""

    def __init__(self, ask: Inquiry, chunks: Sequence[VisibleChunk], second: SecondLook | None) -> None:
        self._ask = ask
        self._shown = {p.number: p for p in cite.passages(chunks)}
        self._second = second
        self._looks = 0
        self.declined = False
        self.facts: dict[str, Any] = {}

    async def check(self, sentence: str) -> cite.Checked:
        self.declined = self.declined or cite.NO_ANSWER in sentence
        checked = cite.check(sentence, self._shown)
        if self._second is None or not checked.sources:
            return checked
        if self._looks >= SECOND_LOOKS:
            self.facts["lacks"] = [JUDGE_CAPPED]
            return checked
        self._looks += 1
        chunks = [passage.chunk for passage, _ in checked.sources]
        if await self._second.supports(self._ask, chunks, checked.text, self.facts) is False:
            return msgspec.structs.replace(checked, sources=(), reason="judge")
        return checked


class ByQuotation:
    """extract: is there evidence, and if so, which sentences."""

    def __init__(self, closeness: Closeness, options: RagOptions) -> None:
        self._closeness = closeness
        self._options = options

    async def events(
        self, ask: Inquiry, found: Found, trail: Trail, draft: Draft, outcome: Outcome
    ) -> AsyncGenerator[AnswerEvent]:
        outcome.model = EXTRACTIVE
        with trail.step("verify") as facts:
            scaled = closeness.scaled(found.retrieved.embedder)
            hits = found.hits[: self._options.rerank_depth]
            support = extract.support(ask.query, hits, scaled=scaled)
            facts |= msgspec.structs.asdict(support) | {"needed": extract.SUPPORT_MIN}
            similarity = await self._similarity(ask, found) if support.enough else {}
            said = support.enough and self._said(ask, hits, support, similarity, facts)
        picks: list[extract.Pick] = []
        if said:
            with trail.step("answer") as facts:
                picks = extract.choose(
                    ask.query, found.context, most=self._options.extract_sentences, similarity=similarity
                )
                facts |= {"model": EXTRACTIVE, "sentences": [_picked(p) for p in picks]}
        for pick in picks:
            for event in draft.quote(pick):
                yield event
        if picks:
            outcome.status = "answered"
        elif MODEL_FAILED in outcome.degraded:
            outcome.reason = "upstream_error"
        else:
            outcome.reason = "not_said" if support.enough and not said else "no_evidence"

    def _said(
        self,
        ask: Inquiry,
        hits: Sequence[Hit],
        support: extract.Support,
        similarity: Mapping[tuple[str, int], float],
        facts: dict[str, Any],
    ) -> bool:
        """Whether the passages say what is asked, as far as words can tell; the figures go into the trace."""
        cosine = max(similarity.values(), default=None) if support.cosine is not None else None
        found = doubt.judge(ask.query, hits, support, cosine=cosine)
        if found is None:
            return True
        facts["doubt"] = {"probability": round(found.probability, 4), "most": self._options.doubt_max, **found.figures}
        return found.probability <= self._options.doubt_max

    async def _similarity(self, ask: Inquiry, found: Found) -> dict[tuple[str, int], float]:
        """Cosine of the likeliest sentences with the question; nothing without vectors, or when embedding fails."""
        most = self._options.sentence_vectors
        if not most or found.retrieved.vector is None:
            return {}
        likely = [(s.hit.chunk, s.sentence) for s in extract.rank(ask.query, found.context)[:most]]
        return await self._closeness.cosines(ask, found.retrieved, likely, timeout_s=self._options.embed_timeout_s)


def _judge(outcome: Outcome, draft: Draft, *, declined: bool, complete: bool) -> None:
    if draft.text:
        whole = not draft.dropped and complete
        outcome.status = "answered" if whole else "partial"
        outcome.reason = None if whole else "unsupported" if draft.dropped else "truncated"
        outcome.diagnosis = "unsupported generation" if draft.dropped else None
    elif declined or not draft.dropped:
        outcome.reason = "no_evidence"
    else:
        outcome.reason, outcome.diagnosis = "unsupported", "unsupported generation"


def _verified(draft: Draft) -> dict[str, Any]:
    """Per sentence: kept or why not, and how much of it the passage covers. No text."""
    kept = [{"kept": True, "coverage": round(c.coverage, 3)} for c in draft.kept]
    dropped = [{"kept": False, "reason": c.reason, "coverage": round(c.coverage, 3)} for c in draft.dropped]
    return {"sentences": kept + dropped, "kept": len(kept), "dropped": len(dropped)}


def _picked(pick: extract.Pick) -> dict[str, Any]:
    span = [pick.sentence.start, pick.sentence.end]
    return {"chunk_id": pick.hit.chunk.id, "span": span, "score": round(pick.score, 4)}


def _usage(spoken: Spoken) -> dict[str, int]:
    return {"input_tokens": spoken.usage.input_tokens, "output_tokens": spoken.usage.output_tokens}
