"""Why a refusal has its diagnosis, in a sentence: how much evidence there was, and which of the question's words were nowhere read.

Everything is of the reader's own passages and of the trace: what is hidden and what does not exist read the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bascule.core.documents import VisibleChunk
from bascule.core.lexical import STOPWORDS
from bascule.core.traces import Trace
from bascule.rag import rerank, words
from bascule.rag.missed import facts_of, query_of

_NAMED: Final = 6  # words
_SAID: Final = {
    "not indexed": "Nothing that may be read here is near to it",
    "in context but ignored": "Something near was read, and the words did not suffice",
    "ranked but truncated": "A passage with the question's words was ranked and left out",
    "retrieved but not ranked": "A passage with the question's words was found, too far down to be read",
}


def because(trace: Trace, visible: Mapping[str, VisibleChunk]) -> str:
    """ "" for what was answered, for what its own reason explains, and for traces of before this was kept."""
    support = facts_of(trace, "verify")
    evidence, needed = support.get("probability", support.get("evidence")), support.get("needed")
    if trace.status != "refused" or trace.diagnosis not in _SAID:
        return ""
    if not facts_of(trace, "rerank").get("hits"):
        return "Nothing that may be read here was found for it."
    if evidence is None or needed is None:
        return ""
    if trace.reason == "not_said" and "doubt" in support:
        doubt = support["doubt"]
        return (
            "What was read is about it and does not seem to say it: "
            f"doubt {doubt['probability']:.2f}, {doubt['most']:.2f} allowed.{_lacks(trace, visible)}"
        )
    return f"{_SAID[trace.diagnosis]}: evidence {evidence:.2f}, {needed:.2f} needed.{_lacks(trace, visible)}"


def _lacks(trace: Trace, visible: Mapping[str, VisibleChunk]) -> str:
    read = [visible[i] for i in trace.chunk_ids if i in visible]
    query = query_of(trace)
    if not read or not query:
        return ""
    reading = rerank.read(query, read)
    there = frozenset().union(*(body.all for body in reading.bodies.values()))
    gone = {root for root in reading.content if root not in there}
    missing = list(
        dict.fromkeys(word for word in words.plain(query) if word not in STOPWORDS and words.root(word) in gone)
    )
    return f" No passage read has: {', '.join(missing[:_NAMED])}." if missing else ""
