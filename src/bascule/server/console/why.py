"""The words and the order in which a trace is told: stages, passages with their places, sentences with their verdicts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

Plain = Mapping[str, Any]

STAGES: Final = {
    "rewrite": "Question put for the search",
    "filter": "Documents narrowed by metadata",
    "retrieve": "Passages proposed by the index",
    "check": "Rights checked by the catalogue",
    "fuse": "Scores by words and by meaning joined",
    "rerank": "Best passages ordered again",
    "further": "Further searches",
    "diversify": "Different passages preferred",
    "prompt": "Passages chosen to be read",
    "answer": "Answer written",
    "verify": "Answer checked against its passages",
}
DIAGNOSES: Final = {
    "answered": "The question was answered from the passages that are cited.",
    "not indexed": "Nothing that the asker may read holds what was asked.",
    "stale": "A document that this answer stood on has changed or gone since. Ask again.",
    "retrieved but not ranked": "A passage that fits was found, but others were ranked above it, so it was not read.",
    "ranked but truncated": "A passage that fits was ranked well, but there was no room left for it.",
    "in context but ignored": "A passage that fits was read, and the answer was not made from it.",
    "unsupported generation": "The model wrote what its passages do not say; those sentences were taken out.",
    "hidden by permission": "A passage that fits exists, and the asker may not read it.",
    "upstream error": "The chat model failed before there was an answer.",
    "not retrieved": "It is indexed, but neither its words nor its meaning are near to the question.",
}
DROPPED: Final = {
    "uncited": "names no source",
    "words": "says what its source does not",
    "number": "has a number that its source has not",
    "unit": "has another unit than its source",
    "date": "has a date that its source has not",
    "name": "has a name that its source has not",
    "negation": "affirms what its source denies, or the other way round",
    "judge": "was found unsupported by the judge that looked at it a second time",
}
LEFT_OUT: Final = {
    "passage limit": "enough passages were already chosen",
    "token budget": "no room left in the prompt",
    "repeats another": "nearly the same as one that was read",
}
METHODS: Final = {"lexical": "Words", "dense": "Meaning", "cosine": "Cosine", "features": "Reranker"}
_HIDDEN: Final = frozenset({"hits", "sentences", "searches", "doubt", "chunk_ids"})
_SENTENCE: Final = re.compile(r"\s*(.+?)\s*((?:\[\d{1,3}\]\s*)+)", re.DOTALL)


class StageRow(msgspec.Struct, frozen=True, kw_only=True):
    """`share`: of the whole time, 0..100."""

    name: str
    word: str
    took_ms: float
    share: float
    facts: list[tuple[str, str]]


class PassageRow(msgspec.Struct, frozen=True, kw_only=True):
    """`scores`: one for each of `Why.methods`; None where the method did not find it. Places count from 1."""

    chunk_id: str
    title: str
    place: str
    scores: list[float | None]
    fused: float | None
    fused_place: int | None
    final: float | None
    final_place: int | None
    became: str
    state: str


class SentenceRow(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    marks: str
    verdict: str
    good: bool


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """`methods`: the headings of each passage's scores."""

    stages: list[StageRow]
    took_ms: float
    methods: list[str]
    passages: list[PassageRow]
    sentences: list[SentenceRow]
    dropped: list[str]
    diagnosis: str
    titles: Mapping[str, str]

    @classmethod
    def of(cls, found: Plain) -> Why:
        facts = {stage["name"]: stage["facts"] for stage in found["stages"]}
        took_s = sum(stage["took_s"] for stage in found["stages"])
        methods = _methods(facts)
        return cls(
            stages=[_stage(stage, took_s) for stage in found["stages"]],
            took_ms=1000 * took_s,
            methods=[METHODS.get(name, name.replace("_", " ").capitalize()) for name in methods],
            passages=list(_passages(found, facts, methods)),
            sentences=list(_sentences(found["answer"], facts)),
            dropped=[_dropped(row) for row in _checked(facts) if not row["kept"]],
            diagnosis=DIAGNOSES.get(str(found["diagnosis"]), str(found["diagnosis"])),
            titles={row["chunk_id"]: row["title"] for row in found["passages"]},
        )


def _stage(stage: Plain, whole_s: float) -> StageRow:
    facts = [
        (name.replace("_", " ").replace("chunk ids", "passages"), _short(value))
        for name, value in stage["facts"].items()
        if name not in _HIDDEN
    ]
    doubt = stage["facts"].get("doubt")
    if doubt:
        facts.append(("doubt", f"{doubt['probability']:.2f}, {doubt['most']:.2f} allowed"))
    return StageRow(
        name=stage["name"],
        word=STAGES.get(str(stage["name"]), str(stage["name"])),
        took_ms=1000 * stage["took_s"],
        share=100 * stage["took_s"] / whole_s if whole_s else 0.0,
        facts=facts,
    )


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {_short(each)}" for name, each in value.items()) or "none"
    if isinstance(value, Sequence) and not isinstance(value, str):
        if value and all(isinstance(each, str) and len(each) == 32 for each in value):
            return str(len(value))  # ids of passages: they stand in the table
        return ", ".join(_short(each) for each in value) or "none"
    return str(value) if value not in (None, "") else "none"


def _methods(facts: Mapping[str, Plain]) -> list[str]:
    """Every score that some passage carries, the known ones first."""
    there = {
        name for stage in ("fuse", "rerank") for hit in facts.get(stage, {}).get("hits", ()) for name in hit["parts"]
    }
    return [name for name in METHODS if name in there] + sorted(there - METHODS.keys())


def _passages(found: Plain, facts: Mapping[str, Plain], methods: Sequence[str]) -> Iterator[PassageRow]:
    """In their last order; what no stage lists comes last."""
    known = {row["chunk_id"]: row for row in found["passages"]}
    fused = {hit["chunk_id"]: (at, hit) for at, hit in enumerate(facts.get("fuse", {}).get("hits", ()), start=1)}
    last = facts.get("diversify", {}).get("hits") or facts.get("rerank", {}).get("hits", ())
    final = {hit["chunk_id"]: (at, hit) for at, hit in enumerate(last, start=1)}
    why = {row["chunk_id"]: row["why"] for row in found["missed"]}
    for chunk_id in dict.fromkeys([*final, *fused, *known]):
        row = known.get(chunk_id)
        if row is None:
            continue
        fused_place, one = fused.get(chunk_id, (None, None))
        final_place, other = final.get(chunk_id, (None, None))
        parts = {**(one or {}).get("parts", {}), **(other or {}).get("parts", {})}
        became, state = _became(row, why.get(chunk_id))
        yield PassageRow(
            chunk_id=chunk_id,
            title=row["title"],
            place=" › ".join([row["collection"], *[h for h in row["heading_path"] if h != row["title"]]]),
            scores=[parts.get(name) for name in methods],
            fused=one["score"] if one else None,
            fused_place=fused_place,
            final=other["score"] if other else None,
            final_place=final_place,
            became=became,
            state=state,
        )


def _became(row: Plain, why: str | None) -> tuple[str, str]:
    if row["cited"]:
        return "cited", "done"
    if row["in_context"]:
        return "read", ""
    return (f"left out: {LEFT_OUT.get(why, why)}", "queued") if why else ("not read", "queued")


def _checked(facts: Mapping[str, Plain]) -> Sequence[Plain]:
    """Of a written answer: each sentence's verdict, those kept first and in their order."""
    rows = facts.get("verify", {}).get("sentences", ())
    return [row for row in rows if "kept" in row]


def _sentences(answer: str, facts: Mapping[str, Plain]) -> Iterator[SentenceRow]:
    """The answer cut after its citation marks, each piece with what the check said of it."""
    verdicts = [row for row in _checked(facts) if row["kept"]]
    cut = [(m.group(1), m.group(2)) for m in _SENTENCE.finditer(answer)]
    quoted = "sentences" in facts.get("answer", {})
    for number, (text, marks) in enumerate(cut):
        if quoted:
            verdict = "word for word from its source"
        elif len(verdicts) == len(cut):
            verdict = f"supported: its source has {verdicts[number]['coverage']:.0%} of its words"
        else:
            verdict = "supported by its source"
        yield SentenceRow(text=text, marks=" ".join(marks.split()), verdict=verdict, good=True)


def _dropped(row: Plain) -> str:
    return f"A sentence was taken out: it {DROPPED.get(row['reason'], row['reason'])}."
