"""From a question to the passages an answer is made of: rewrite, retrieve, check, fuse, rerank, further searches, pack."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from bascule.core.catalogue import Passages
from bascule.core.documents import Hit, VisibleChunk
from bascule.core.filters import EVERYTHING
from bascule.rag import alike, priors, prompt
from bascule.rag.advice import Adviser
from bascule.rag.analyse import Analysis, exact_first, fits
from bascule.rag.diverse import diversify, falling
from bascule.rag.expand import expand
from bascule.rag.explain import Trail, listed
from bascule.rag.inquiry import Found, Inquiry
from bascule.rag.options import RagOptions
from bascule.rag.reorder import Reordering
from bascule.rag.retrieve import Retrieved, Retriever
from bascule.rag.tokens import estimate

SHOWN = 5  # passages that a model sees before it says what else to search for


class _Search(msgspec.Struct, frozen=True):
    query: str
    retrieved: Retrieved
    hits: list[Hit]
    facts: dict[str, Any]
    drawn_from: tuple[VisibleChunk, ...] = ()


class Finder:
    def __init__(
        self,
        passages: Passages,
        retriever: Retriever,
        reordering: Reordering,
        adviser: Adviser | None,
        options: RagOptions,
    ) -> None:
        self._passages = passages
        self._retriever = retriever
        self._reordering = reordering
        self._adviser = adviser
        self._options = options

    async def reworded(self, ask: Inquiry, trail: Trail) -> Inquiry:
        """The inquiry with the text that is searched with. In a conversation a model may put it, when switched on."""
        with trail.step("rewrite") as facts:
            if self._adviser is not None and self._options.rewrite == "model" and ask.history:
                said = await self._adviser.standalone(ask, facts)
                ask = ask if said is None else msgspec.structs.replace(ask, query=said)
            facts |= {"query": ask.query, "changed": ask.query != ask.question, "turns": len(ask.history)}
            facts |= ask.analysis.facts
        return ask

    async def find(self, ask: Inquiry, trail: Trail, *, wanted: int, assisted: bool = False) -> Found:
        """`assisted`: with the further searches that are switched on. Raises NotFound, StorageError, UpstreamTimeout."""
        first = await self._search(ask, ask.query, wanted, analysis=ask.analysis)
        _note(trail, ask, first.retrieved, self._options.fusion)
        with trail.step("rerank") as facts:
            facts |= first.facts | {"hits": listed(first.hits)}
        searches = [first]
        if assisted and self._adviser is not None and first.hits:
            await self._further(ask, trail, searches, wanted, self._adviser)
        retrieved, hits = _joined(searches)
        hits = self._diverse(hits, trail)
        return await self._packed(ask, trail, retrieved, hits, searches)

    def _diverse(self, hits: list[Hit], trail: Trail) -> list[Hit]:
        mmr, per_document, depth = self._options.mmr, self._options.per_document, self._options.rerank_depth
        if not (mmr or per_document):
            return hits
        with trail.step("diversify") as facts:
            spread = diversify(hits, mmr=mmr, depth=depth, per_document=per_document)
            facts |= {"mmr": mmr, "per_document": per_document, "hits": listed(spread)}
        return spread

    async def _search(
        self,
        ask: Inquiry,
        query: str,
        wanted: int,
        drawn_from: Sequence[VisibleChunk] = (),
        *,
        analysis: Analysis | None = None,
    ) -> _Search:
        documents = frozenset(chunk.document_id for chunk in drawn_from)
        retrieved = await self._retriever.retrieve(
            ask.principal,
            query,
            collections=ask.collections,
            where=ask.where,
            wanted=wanted,
            keep=lambda chunk: fits(ask.analysis, chunk),
            deadline=ask.deadline,
            call_for=lambda timeout_s: ask.call(timeout_s=timeout_s, document_ids=documents),
        )
        facts: dict[str, Any] = {}
        hits = await self._reordering.order(ask, query, retrieved, facts)
        hits = priors.weigh(hits, self._options.priors, datetime.now(UTC))
        hits = exact_first(analysis, hits) if analysis is not None else hits
        return _Search(query, retrieved, hits, facts, tuple(drawn_from))

    async def _further(
        self, ask: Inquiry, trail: Trail, searches: list[_Search], wanted: int, adviser: Adviser
    ) -> None:
        """Sub-questions side by side, then hop after hop; as many as the options allow, and none twice."""
        options = self._options
        if not options.subquestions and not options.hops:
            return
        with trail.step("further") as facts:
            if options.subquestions:
                parts = await adviser.parts(ask, facts, options.subquestions)
                searches += await asyncio.gather(*(self._search(ask, part, wanted) for part in parts))
            for _ in range(options.hops):
                seen = tuple(hit.chunk for hit in _joined(searches)[1][:SHOWN])
                asked = {search.query for search in searches}
                queries = [q for q in await adviser.further(ask, seen, facts, options.hop_searches) if q not in asked]
                if not queries:
                    break
                searches += await asyncio.gather(*(self._search(ask, query, wanted, seen) for query in queries))
            facts["searches"] = [_told(search) for search in searches[1:]]

    async def _packed(
        self, ask: Inquiry, trail: Trail, retrieved: Retrieved, hits: Sequence[Hit], searches: Sequence[_Search]
    ) -> Found:
        options = self._options
        with trail.step("prompt") as facts:
            unique = alike.without_repeats(hits)
            packed = prompt.pack([h.chunk for h in unique], most=options.passages, budget_tokens=options.prompt_tokens)
            packed = await expand(
                self._passages,
                ask.principal,
                packed,
                around=options.expand,
                budget_tokens=options.prompt_tokens,
                keep=lambda chunk: fits(ask.analysis, chunk),
            )
            facts |= {
                "chunk_ids": [c.id for c in packed.chosen],
                "left_out_chunk_ids": [c.id for c in packed.left_out[:20]],
                "repeated_chunk_ids": [h.chunk.id for h in hits if h not in unique][:20],
                "tokens": packed.tokens,
                "budget_tokens": options.prompt_tokens,
                "most_passages": options.passages,
                "history_tokens": estimate(" ".join(said for _, said in ask.history)),
                "template": options.prompt_version,
            }
        drawn = tuple(dict.fromkeys(c.document_id for search in searches for c in search.drawn_from))
        return Found(retrieved=retrieved, hits=tuple(hits), packed=packed, drawn_from=drawn)


def _joined(searches: Sequence[_Search]) -> tuple[Retrieved, list[Hit]]:
    """All hits, each search's best first in turn, so that none of the things asked for is crowded out."""
    if len(searches) == 1:
        return _with_lacks(searches), searches[0].hits
    found: dict[str, Hit] = {}
    for place in range(max(len(search.hits) for search in searches)):
        for search in searches:
            if place < len(search.hits):
                found.setdefault(search.hits[place].chunk.id, search.hits[place])
    return _with_lacks(searches), falling(list(found.values()))


def _with_lacks(searches: Sequence[_Search]) -> Retrieved:
    retrieved = searches[0].retrieved
    lacks = [code for search in searches for code in (*search.retrieved.degraded, *search.facts.get("lacks", ()))]
    return msgspec.structs.replace(retrieved, degraded=tuple(dict.fromkeys(lacks)))


def _told(search: _Search) -> dict[str, Any]:
    """A search's words may be drawn from passages: with `drawn_from_chunk_id` they are shown to their readers alone."""
    asked = {"asked": search.facts["asked"]} if "asked" in search.facts else {}
    drawn = [{"chunk_id": chunk.id} for chunk in search.drawn_from]
    return {"query": search.query, "drawn_from": drawn, "hits": listed(search.hits)[:5]} | asked


def _note(trail: Trail, ask: Inquiry, retrieved: Retrieved, method: str) -> None:
    took = retrieved.took_s
    if ask.where != EVERYTHING:
        trail.note("filter", took.get("filter", 0.0), {"where": json.dumps(ask.asked_where)})
    facts = {
        "terms": list(retrieved.terms),
        "by_meaning": retrieved.vector is not None,
        "lacks": list(retrieved.degraded),
    }
    trail.note("retrieve", took.get("embed", 0.0) + took.get("retrieve", 0.0), facts)
    trail.note("check", took.get("check", 0.0), {"visible": len(retrieved.hits)})
    trail.note("fuse", took.get("fuse", 0.0), {"method": method, "hits": listed(retrieved.hits)})
