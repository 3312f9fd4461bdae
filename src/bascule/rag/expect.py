"""Why something expected is not in an answer: a document or a text, followed through the stages under one reader's rights.

What the reader may not read does not exist here: it is "not indexed", as for the asker. `rag.truth` tells auditors more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from bascule.core.catalogue import Passages
from bascule.core.documents import Document, Hit, VisibleChunk
from bascule.core.errors import InvalidRequest, NotFound
from bascule.core.principals import Principal
from bascule.core.traces import Trace
from bascule.rag import rerank, words
from bascule.rag.explain import HAS_IT, Diagnosis
from bascule.rag.missed import facts_of, places_of, query_of, why_left_out
from bascule.rag.questions import Questions

WIDE: Final = 500  # how deep an expected passage is looked for
_LIKELY: Final = 20  # passages that a text is looked for in
MAX_CHARS: Final = 2000


class Named(Protocol):
    async def documents_named(self, principal: Principal, name: str, limit: int) -> list[Document]:
        """Readable documents with this id, external id, name or title; those not indexed yet, or not able to be, included."""
        ...

    async def document_chunks(self, principal: Principal, document_id: str) -> list[VisibleChunk]: ...


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a passage stands on today's index, of the reader's own passages: places count from 1, None is beyond the search."""

    chunk_id: str
    by_words: int | None
    by_meaning: int | None
    ranked: int | None
    lacks: list[str]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """`why` is one sentence. `diagnosis` is one of the answer's, or "not retrieved": indexed, and beyond every search."""

    expected: str
    diagnosis: Diagnosis | str
    why: str
    documents: list[dict[str, str]] = []
    places: list[Place] = []


class Expectations:
    """`wide` is the question path with a deeper search, so that a passage's place can be told where the answer's ended."""

    def __init__(self, passages: Passages, named: Named, wide: Questions) -> None:
        self._passages = passages
        self._named = named
        self._wide = wide

    async def judge(self, principal: Principal, trace: Trace, expected: str) -> Verdict:
        """Raises InvalidRequest for an empty or endless text, StorageError, LimitExceeded (embedding)."""
        if not expected.strip() or len(expected) > MAX_CHARS:
            raise InvalidRequest(f"What is expected has 1 to {MAX_CHARS} characters.", param="expect")
        documents = await self._named.documents_named(principal, expected.strip(), 5)
        chunks = [c for d in documents for c in await self._named.document_chunks(principal, d.id)]
        said = "" if documents else expected
        if not documents:
            chunks = await self.holding(principal, expected)
        verdict = await self._judge(principal, trace, expected, documents, chunks, said)
        shown = [{"document_id": d.id, "title": d.title or d.name, "state": d.state} for d in documents]
        shown = shown or [
            {"document_id": c.document_id, "title": c.title or c.name, "state": "indexed"} for c in chunks
        ]
        unique = list({row["document_id"]: row for row in shown}.values())
        return msgspec.structs.replace(verdict, documents=unique)

    async def holding(self, principal: Principal, text: str) -> list[VisibleChunk]:
        """Readable passages that hold this text; without one, those that hold most of its telling words."""
        hits = await self._wide.search(principal, text, limit=_LIKELY)
        exact = [h.chunk for h in hits if _flat(text) in _flat(h.chunk.text)]
        return exact or having(text, hits)

    async def _judge(
        self,
        principal: Principal,
        trace: Trace,
        expected: str,
        documents: Sequence[Document],
        chunks: Sequence[VisibleChunk],
        said: str,
    ) -> Verdict:
        found = _of_state(trace, documents, chunks)
        if found is None and chunks:
            found = _of_answer(trace, chunks, said)
        places: list[Place] = []
        if chunks and (found is None or found[0] not in ("stale", "not indexed")):
            places, total = await self._places(principal, trace, chunks)
            found = found or _of_places(places, total)
        if found is None:
            found = ("not indexed", "Nothing that may be read here has this name or holds this text.")
        return Verdict(expected=expected, diagnosis=found[0], why=found[1], places=places)

    async def _places(
        self, principal: Principal, trace: Trace, chunks: Sequence[VisibleChunk]
    ) -> tuple[list[Place], int]:
        query = query_of(trace)
        if not query:
            return [], 0
        asked = trace.asked
        try:
            hits = await self._wide.search(
                principal,
                query,
                collections=asked.collections if asked else None,
                where=asked.where if asked else {},
                limit=WIDE,
            )
        except NotFound:  # a collection that has closed since
            return [], 0
        reading = rerank.read(query, chunks)
        by = {name: _order(hits, name) for name in ("lexical", "dense")}
        ranked = {h.chunk.id: place for place, h in enumerate(hits, start=1)}
        found = [
            Place(
                chunk_id=c.id,
                by_words=by["lexical"].get(c.id),
                by_meaning=by["dense"].get(c.id),
                ranked=ranked.get(c.id),
                lacks=[word for word in reading.content if word not in reading.bodies[c.id].all],
            )
            for c in chunks
        ]
        return sorted(found, key=lambda p: p.ranked or WIDE + 1)[:_LIKELY], len(hits)


Found = tuple[Diagnosis | str, str] | None


def _of_state(trace: Trace, documents: Sequence[Document], chunks: Sequence[VisibleChunk]) -> Found:
    if documents and not chunks:
        first = documents[0]
        return "not indexed", f"The document is {first.state}: {first.reason or 'it holds no text yet.'}"
    if not chunks:
        return None
    asked = trace.asked
    if asked and asked.collections is not None and all(c.collection not in asked.collections for c in chunks):
        return "not indexed", f"It is in the collection {chunks[0].collection!r}, which was not asked."
    known = {*trace.chunk_ids, *places_of(trace), *why_left_out(trace)}
    if all(c.updated_at > _as_stamp(trace.created_at) and c.id not in known for c in chunks):
        return "stale", "It came or changed after the answer was made. Ask again, or replay the answer."
    return None


def _of_answer(trace: Trace, chunks: Sequence[VisibleChunk], said: str) -> Found:
    ids = [c.id for c in chunks]
    if any(i in trace.chunk_ids for i in ids):
        return _of_context(trace, ids, said)
    reasons = why_left_out(trace)
    for chunk_id in ids:
        if chunk_id in reasons:
            place = places_of(trace).get(chunk_id)
            where = f"It was ranked {place}." if place else "It was ranked."
            return "ranked but truncated", f"{where} It was left out: {_IN_WORDS[reasons[chunk_id]]}."
    return None


_IN_WORDS: Final = {
    "passage limit": "as many passages as an answer may be made from were already chosen (rag.passages)",
    "token budget": "it did not fit into the tokens left for passages (rag.prompt_tokens)",
    "repeats another": "a near-identical passage is read instead",
}


def _of_context(trace: Trace, ids: Sequence[str], said: str) -> Found:
    if said and _flat(said) in _flat(trace.answer):
        return "answered", "The answer says it."
    if not said and any(i in trace.cited for i in ids):
        return "answered", "The answer cites it."
    if trace.diagnosis in ("upstream error", "unsupported generation"):
        return trace.diagnosis, _MODEL[trace.diagnosis]
    support = facts_of(trace, "verify")
    if trace.reason == "not_said" and "doubt" in support:
        shown = f"{support['doubt']['probability']:.2f}, {support['doubt']['most']:.2f} allowed"
        return "in context but ignored", f"It was read, and it does not seem to say what is asked: doubt {shown}."
    if trace.status == "refused" and "needed" in support:
        shown = f"{support.get('probability', 0):.2f} of {support['needed']:.2f} needed"
        return "in context but ignored", f"It was read, and the evidence of all passages was too weak: {shown}."
    cited = any(i in trace.cited for i in ids)
    words_ = "It was cited for something else" if cited else "It was read and other passages were preferred"
    return "in context but ignored", f"{words_}."


_MODEL: Final = {
    "upstream error": "It was read, and the model failed before it could be used.",
    "unsupported generation": "It was read, and what the model wrote was not supported by what it cited.",
}


def _of_places(places: Sequence[Place], total: int) -> Found:
    best = next((p for p in places if p.ranked is not None), None)
    if best is None:
        return "not retrieved", f"It is not among the first {WIDE} passages by words or by meaning."
    where = f"Today it is ranked {best.ranked} of {total}"
    parts = [f"{p} by {name}" for name, p in (("words", best.by_words), ("meaning", best.by_meaning)) if p]
    return "retrieved but not ranked", f"{where} ({', '.join(parts)}), too far down to be read."


def having(text: str, hits: Sequence[Hit]) -> list[VisibleChunk]:
    """Of the hits, the passages that hold most of the text's telling words."""
    if not hits:
        return []
    reading = rerank.read(text, [h.chunk for h in hits])
    return [h.chunk for h in hits if words.cover(reading.weights, reading.bodies[h.chunk.id].all) >= HAS_IT]


def _order(hits: Sequence[Hit], part: str) -> Mapping[str, int]:
    own = sorted((h for h in hits if part in h.parts), key=lambda h: -h.parts[part])
    return {h.chunk.id: place for place, h in enumerate(own, start=1)}


def _flat(text: str) -> str:
    return " ".join(text.split()).casefold()


def _as_stamp(instant: str) -> str:
    """As documents write theirs, so that the two compare as text."""
    return instant.replace("+00:00", "Z")
