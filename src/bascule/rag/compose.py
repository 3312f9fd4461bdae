"""The two ways an answer is written: by a model, sentence for sentence checked, or in the passages' own words."""

from __future__ import annotations

import logging
import struct
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

import msgspec

from bascule.core.calls import CacheDirectives
from bascule.core.chat import ChatModel
from bascule.core.errors import LimitExceeded, UpstreamError
from bascule.rag import cite, extract, prompt
from bascule.rag.answer import Spoken, speak
from bascule.rag.draft import Draft
from bascule.rag.events import AnswerEvent
from bascule.rag.explain import Trail
from bascule.rag.inquiry import EXTRACTIVE, MODEL_FAILED, Found, Inquiry, Outcome
from bascule.rag.options import RagOptions

logger = logging.getLogger(__name__)
_SCALED: Final = "onnx:minilm:"  # the embedding model whose cosines the refusal threshold was calibrated on


class ByModel:
    """prompt, answer, cite, verify. A sentence is sent once it has been checked, never before."""

    def __init__(self, chat: ChatModel, options: RagOptions) -> None:
        self._chat = chat
        self._options = options

    async def events(
        self, ask: Inquiry, found: Found, trail: Trail, draft: Draft, outcome: Outcome
    ) -> AsyncGenerator[AnswerEvent]:
        chunks = found.packed.chosen
        request = prompt.build(
            ask.question, chunks, self._options, model=ask.model, history=ask.history, stream=ask.stream
        )
        call = ask.call(document_ids=frozenset(c.document_id for c in chunks))
        spoken, reader = Spoken(), cite.Reader()
        shown = {p.number: p for p in cite.passages(chunks)}
        declined = False
        with trail.step("answer") as facts:
            try:
                async with aclosing(speak(self._chat, request, call, spoken)) as pieces:
                    async for piece in pieces:
                        for sentence in reader.feed(piece):
                            declined = declined or cite.NO_ANSWER in sentence
                            for event in draft.add(cite.check(sentence, shown)):
                                yield event
            finally:
                outcome.model, outcome.cache = ask.model, call.cache
                outcome.usage = _usage(spoken)
                outcome.degraded.extend(call.degraded)
                facts |= {"model": ask.model, "cache": call.cache, "usage": outcome.usage, "complete": spoken.complete}
                facts |= {} if call.cost_usd is None else {"cost_usd": call.cost_usd}
        for sentence in reader.close(cut_short=not spoken.complete):
            declined = declined or cite.NO_ANSWER in sentence
            for event in draft.add(cite.check(sentence, shown)):
                yield event
        _judge(outcome, draft, declined=declined, complete=spoken.complete)
        trail.note("verify", 0.0, _verified(draft))


class ByQuotation:
    """extract: is there evidence, and if so, which sentences."""

    def __init__(self, options: RagOptions) -> None:
        self._options = options

    async def events(
        self, ask: Inquiry, found: Found, trail: Trail, draft: Draft, outcome: Outcome
    ) -> AsyncGenerator[AnswerEvent]:
        outcome.model = EXTRACTIVE
        with trail.step("verify") as facts:
            embedder = found.retrieved.embedder
            scaled = embedder is not None and embedder.fingerprint.startswith(_SCALED)
            depth = self._options.rerank_depth
            support = extract.support(ask.query, found.hits[:depth], scaled=scaled)
            facts |= msgspec.structs.asdict(support) | {"needed": extract.SUPPORT_MIN}
        picks: list[extract.Pick] = []
        if support.enough:
            with trail.step("answer") as facts:
                similarity = await self._similarity(ask, found)
                picks = extract.choose(
                    ask.query, found.context, most=self._options.extract_sentences, similarity=similarity
                )
                facts |= {"model": EXTRACTIVE, "sentences": [_picked(p) for p in picks]}
        for pick in picks:
            for event in draft.quote(pick):
                yield event
        if picks:
            outcome.status = "answered"
        else:
            outcome.reason = "upstream_error" if MODEL_FAILED in outcome.degraded else "no_evidence"

    async def _similarity(self, ask: Inquiry, found: Found) -> dict[tuple[str, int], float]:
        """Cosine of the likeliest sentences with the question; nothing without vectors, or when embedding fails."""
        vector, embedder, most = found.retrieved.vector, found.retrieved.embedder, self._options.sentence_vectors
        if vector is None or embedder is None or not most:
            return {}
        likely = extract.rank(ask.query, found.context)[:most]
        call = ask.call(
            timeout_s=self._options.embed_timeout_s,
            document_ids=frozenset(s.hit.chunk.document_id for s in likely),
            directives=CacheDirectives(no_store=True),
        )
        try:
            vectors = await embedder.embed([s.sentence.text for s in likely], "query", call)
        except (UpstreamError, LimitExceeded) as error:
            logger.warning("sentences were chosen by words alone: embedding failed (%s)", error.code)
            return {}
        return {(s.hit.chunk.id, s.sentence.start): _dot(vector, v) for s, v in zip(likely, vectors, strict=True)}


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


def _dot(one: bytes, other: bytes) -> float:
    size = len(one) // 4
    if len(other) != len(one):
        return 0.0
    pairs = zip(struct.unpack(f"<{size}f", one), struct.unpack(f"<{size}f", other), strict=True)
    return float(sum(a * b for a, b in pairs))
