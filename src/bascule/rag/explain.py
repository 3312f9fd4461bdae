"""Why an answer came out as it did: facts of each step while it runs, a diagnosis at the end, a view at read time.

Facts are ids, scores and sizes of what the asker may see. What was proposed and refused leaves none: not its id, not its
number. The view resolves every id again under the reader's rights, and drops those that no longer resolve.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal

from bascule.core.catalogue import Passages
from bascule.core.documents import Hit, VisibleChunk
from bascule.core.principals import Principal
from bascule.core.traces import Stage, Trace
from bascule.rag import missed, prompt_parts, rerank, words
from bascule.rag.because import because
from bascule.rag.options import RagOptions

Diagnosis = Literal[
    "answered",
    "not indexed",
    "stale",
    "retrieved but not ranked",
    "ranked but truncated",
    "in context but ignored",
    "unsupported generation",
    "hidden by permission",  # told to auditors only: see `rag.truth`
    "upstream error",
]
STEPS: Final = (
    "rewrite",
    "filter",
    "retrieve",
    "check",
    "fuse",
    "rerank",
    "further",
    "diversify",
    "prompt",
    "answer",
    "verify",
)
HAS_IT: Final = 0.75  # weighted share of the question's telling words that makes a passage a likely answer
NEAR: Final = 0.15  # evidence from which something near was read: chosen by bench/bench_diagnosis.py
LISTED: Final = 20


class Trail:
    """The stages of one answer, in order. A step may be timed with `step`, or told with `note`."""

    def __init__(self) -> None:
        self._stages: dict[str, Stage] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[dict[str, Any]]:
        """Fill the dictionary with facts; time is taken around it, and an error inside still leaves the stage."""
        facts: dict[str, Any] = {}
        started_s = time.monotonic()
        try:
            yield facts
        finally:
            self.note(name, time.monotonic() - started_s, facts)

    def note(self, name: str, took_s: float, facts: Mapping[str, Any]) -> None:
        self._stages[name] = Stage(name=name, took_s=round(took_s, 6), facts=facts)

    def facts(self, name: str) -> Mapping[str, Any]:
        """Of a step; none of one that did not run."""
        return self._stages[name].facts if name in self._stages else {}

    def add(self, name: str, facts: Mapping[str, Any]) -> None:
        took_s = self._stages[name].took_s if name in self._stages else 0.0
        self.note(name, took_s, {**self.facts(name), **facts})

    @property
    def advice_tokens(self) -> dict[str, int]:
        """What the small calls between the steps took, beside the answer's own."""
        found = {"input_tokens": 0, "output_tokens": 0}
        for stage in self._stages.values():
            for usage in _usages(stage.facts):
                found = {name: count + usage[name] for name, count in found.items()}
        return found

    @property
    def stages(self) -> tuple[Stage, ...]:
        return tuple(self._stages[name] for name in STEPS if name in self._stages)


def _usages(facts: Mapping[str, Any]) -> Iterator[Mapping[str, int]]:
    """Of every call told under `asked`, in the step itself and in its further searches."""
    for asked in facts.get("asked", ()):
        yield asked["usage"]
    for search in facts.get("searches", ()):
        yield from _usages(search)


def listed(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    """The first hits as facts."""
    return [
        {"chunk_id": h.chunk.id, "score": round(h.score, 4), "parts": {k: round(v, 4) for k, v in h.parts.items()}}
        for h in hits[:LISTED]
    ]


def diagnose_refusal(
    question: str,
    hits: Sequence[Hit],
    context: Sequence[VisibleChunk],
    left_out: Sequence[VisibleChunk],
    *,
    evidence: float,
) -> Diagnosis:
    """Where the answer was lost, judged by which of the asker's own hits hold the question's telling words, and where none does by
    the probability that there is evidence: a paraphrase has other words, and still some."""
    if not hits:
        return "not indexed"
    reading = rerank.read(question, [h.chunk for h in hits])
    having = {id_ for id_, body in reading.bodies.items() if words.cover(reading.weights, body.all) >= HAS_IT}
    if having.intersection(c.id for c in context):
        return "in context but ignored"
    if having.intersection(c.id for c in left_out[:LISTED]):
        return "ranked but truncated"
    if having:
        return "retrieved but not ranked"
    return "in context but ignored" if context and evidence >= NEAR else "not indexed"


async def view(passages: Passages, principal: Principal, trace: Trace, options: RagOptions) -> dict[str, Any]:
    """The trace as this reader may see it now. Raises StorageError."""
    visible = await resolve(passages, principal, trace)
    lost = any(i not in visible for i in trace.chunk_ids)
    return {
        "id": trace.id,
        "created_at": trace.created_at,
        "question": trace.question,
        "answer": "" if lost else trace.answer,
        "status": trace.status,
        "reason": trace.reason,
        "model": trace.model,
        "collections": list(trace.collections),
        "diagnosis": "stale" if lost or trace.scrubbed else trace.diagnosis,
        "why": "" if lost or trace.scrubbed else because(trace, visible),
        "scrubbed": trace.scrubbed or lost,
        "stages": [{"name": s.name, "took_s": s.took_s, "facts": _shown(s.facts, visible)} for s in trace.stages],
        "passages": [_passage(visible[i], trace) for i in sorted(visible)],
        "prompt": prompt_parts.parts(trace, visible, options),
        "missed": missed.missed(trace, visible),
    }


async def resolve(passages: Passages, principal: Principal, trace: Trace) -> dict[str, VisibleChunk]:
    """Of the chunks a trace names, those this reader may read now."""
    wanted = sorted({*trace.chunk_ids, *(i for s in trace.stages for i in _ids(s.facts))})
    collections = frozenset(c.id for c in await passages.readable_collections(principal, None))
    return await passages.check(principal, wanted, collections) if wanted and collections else {}


def _passage(chunk: VisibleChunk, trace: Trace) -> dict[str, Any]:
    return {
        "chunk_id": chunk.id,
        "document_id": chunk.document_id,
        "title": chunk.title or chunk.name,
        "collection": chunk.collection,
        "heading_path": list(chunk.heading_path),
        "page": chunk.page,
        "in_context": chunk.id in trace.chunk_ids,
        "cited": chunk.id in trace.cited,
    }


def _ids(fact: Any) -> Iterator[str]:
    """Every chunk id within a fact: under `chunk_id`, or listed under a name that ends in `chunk_ids`."""
    if isinstance(fact, Mapping):
        for name, value in fact.items():
            if name == "chunk_id":
                yield value
            elif name.endswith("chunk_ids"):
                yield from value
            else:
                yield from _ids(value)
    elif isinstance(fact, list | tuple):
        for item in fact:
            yield from _ids(item)


def _shown(fact: Any, visible: Mapping[str, VisibleChunk]) -> Any:
    """The fact without chunks that no longer resolve."""
    if isinstance(fact, Mapping):
        return {
            name: [i for i in value if i in visible] if name.endswith("chunk_ids") else _shown(value, visible)
            for name, value in fact.items()
        }
    if isinstance(fact, list | tuple):
        return [_shown(i, visible) for i in fact if all(one in visible for one in _ids(i))]
    return fact
