"""The nearest passages that were ranked and not read, and why each was left out. Only those its reader may read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from bascule.core.documents import VisibleChunk
from bascule.core.traces import Trace
from bascule.rag import rerank, words

Why = Literal["passage limit", "token budget", "repeats another"]
SHOWN: Final = 10


def missed(trace: Trace, visible: Mapping[str, VisibleChunk]) -> list[dict[str, Any]]:
    """Best first. `covers`: share of the question's telling words that the passage has, 0..1; `lacks`: the words it has not."""
    places = places_of(trace)
    reasons = why_left_out(trace)
    wanted = [i for i in sorted(reasons, key=lambda i: places.get(i, len(places) + 1)) if i in visible][:SHOWN]
    query = query_of(trace)
    if not wanted or not query:
        return []
    reading = rerank.read(query, [visible[i] for i in wanted])
    return [
        {
            "chunk_id": chunk_id,
            "title": visible[chunk_id].title or visible[chunk_id].name,
            "why": reasons[chunk_id],
            "place": places.get(chunk_id),
            "covers": round(words.cover(reading.weights, reading.bodies[chunk_id].all), 3),
            "lacks": [word for word in reading.content if word not in reading.bodies[chunk_id].all],
        }
        for chunk_id in wanted
    ]


def why_left_out(trace: Trace) -> dict[str, Why]:
    """Of the chunks that were ranked and not read, by id."""
    facts = facts_of(trace, "prompt")
    chosen: Sequence[str] = facts.get("chunk_ids", ())
    places = places_of(trace)
    last = max((places[i] for i in chosen if i in places), default=0)
    full = len(chosen) >= int(facts.get("most_passages", len(chosen) + 1))
    reasons: dict[str, Why] = {}
    for chunk_id in facts.get("left_out_chunk_ids", ()):
        passed_over = places.get(chunk_id, last + 1) < last  # a shorter one after it did fit
        reasons[chunk_id] = "passage limit" if full and not passed_over else "token budget"
    return reasons | dict.fromkeys(facts.get("repeated_chunk_ids", ()), "repeats another")


def places_of(trace: Trace) -> dict[str, int]:
    """Place in the final ranking by chunk id, of those the trace lists."""
    hits = facts_of(trace, "rerank").get("hits", ())
    return {hit["chunk_id"]: place for place, hit in enumerate(hits, start=1)}


def facts_of(trace: Trace, stage: str) -> Mapping[str, Any]:
    return next((s.facts for s in trace.stages if s.name == stage), {})


def query_of(trace: Trace) -> str:
    """The question as it was searched for; "" once scrubbed."""
    return str(facts_of(trace, "rewrite").get("query", "")) or trace.question
