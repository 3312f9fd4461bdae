"""How near sentences are in meaning to a question.

A passage of many sentences has one vector, in which the one sentence that answers is drowned by the rest; a sentence of its
own is not. So the likeliest sentences of the best passages are embedded when they are asked about, and kept.
docs/decisions/fusion.md says what it is worth.
"""

from __future__ import annotations

import logging
import struct
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from bascule.core.calls import CacheDirectives
from bascule.core.documents import Hit, VisibleChunk
from bascule.core.embedding import Embedder
from bascule.core.errors import LimitExceeded, UpstreamError
from bascule.rag import rerank, sentences, words
from bascule.rag.inquiry import STEP_SHARE, Inquiry
from bascule.rag.options import RagOptions
from bascule.rag.retrieve import Retrieved
from bascule.rag.sentences import Sentence

logger = logging.getLogger(__name__)

_SCALED: Final = "onnx:minilm:"  # the embedding model whose cosines the weights were chosen on
SENTENCES_FAILED: Final = "sentences_failed"
KEPT: Final = 8192  # vectors of sentences in memory: about 13 MB at 384 dimensions
_EACH: Final = 2  # sentences read of each passage

Place = tuple[str, int]  # chunk id, start of the sentence


def scaled(embedder: Embedder | None) -> bool:
    """Whether cosines of this model may be weighed against other figures."""
    return embedder is not None and embedder.fingerprint.startswith(_SCALED)


class Closeness:
    def __init__(self, options: RagOptions, *, kept: int = KEPT) -> None:
        self._options = options
        self._most = kept
        # Found only by the id of a chunk that the catalogue has just let this asker see: one that is gone is not looked up.
        self._kept: OrderedDict[tuple[str, str, int], bytes] = OrderedDict()

    async def cosines(
        self,
        ask: Inquiry,
        retrieved: Retrieved,
        asked: Sequence[tuple[VisibleChunk, Sentence]],
        *,
        timeout_s: float,
        share: float = 1.0,
    ) -> dict[Place, float]:
        """Cosine with the question by chunk id and start; nothing when it was searched by words, or embedding fails.

        `share`: of the question's time that is left, at most. Raises UpstreamTimeout when none is.
        """
        vector, embedder = retrieved.vector, retrieved.embedder
        if vector is None or embedder is None or not asked:
            return {}
        mark = embedder.fingerprint
        keys = [(mark, chunk.id, sentence.start) for chunk, sentence in asked]
        found = {key: self._kept[key] for key in keys if key in self._kept}
        missing = [at for at, key in enumerate(keys) if key not in found]
        if missing:
            call = ask.call(
                timeout_s=timeout_s,
                share=share,
                document_ids=frozenset(asked[at][0].document_id for at in missing),
                directives=CacheDirectives(no_store=True),
            )
            try:
                made = await embedder.embed([asked[at][1].text for at in missing], "query", call)
            except (UpstreamError, LimitExceeded) as error:
                logger.warning("sentences were compared by words alone: embedding failed (%s)", error.code)
                return {}
            found |= {keys[at]: one for at, one in zip(missing, made, strict=True)}
        self._keep(found)
        return {(chunk_id, start): _dot(vector, one) for (_, chunk_id, start), one in found.items()}

    def _keep(self, found: dict[tuple[str, str, int], bytes]) -> None:
        for key, vector in found.items():
            self._kept[key] = vector
            self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)

    async def order(
        self, ask: Inquiry, reading: rerank.Reading, retrieved: Retrieved, hits: Sequence[Hit], facts: dict[str, Any]
    ) -> list[Hit]:
        """The best passages by their nearest sentence too, the rest as they were. Scores stay 0..1 and never rise."""
        depth, weight = self._options.sentence_passages, self._options.sentence_weight
        head = list(hits[:depth])
        if len(head) < 2 or not weight or not scaled(retrieved.embedder):
            return list(hits)
        likely = _likely(reading, head)
        cosines = await self.cosines(
            ask, retrieved, likely, timeout_s=self._options.sentence_timeout_s, share=STEP_SHARE
        )
        facts["sentences"] = len(cosines)
        if not cosines:
            if likely:
                facts["lacks"] = [SENTENCES_FAILED]
            return list(hits)
        nearest: dict[str, float] = {}
        for (chunk_id, _), cosine in cosines.items():
            nearest[chunk_id] = max(nearest.get(chunk_id, 0.0), min(1.0, cosine))
        moved = sorted((_mixed(h, nearest, weight) for h in head), key=lambda h: (-h.score, h.chunk.id))
        floor = moved[-1].score
        return moved + [msgspec.structs.replace(h, score=min(h.score, floor)) for h in hits[depth:]]


def _mixed(hit: Hit, nearest: dict[str, float], weight: float) -> Hit:
    cosine = nearest.get(hit.chunk.id, 0.0)
    parts = {**hit.parts, "sentence": round(cosine, 6)}
    return msgspec.structs.replace(hit, score=(1 - weight) * hit.score + weight * cosine, parts=parts)


def _likely(reading: rerank.Reading, hits: Sequence[Hit]) -> list[tuple[VisibleChunk, Sentence]]:
    """Of each passage, the sentences that cover most of the question."""
    found = []
    for hit in hits:
        chunk = hit.chunk
        covered = [
            (-words.cover(reading.weights, reading.roots(s.text)), s.start, s)
            for s in sentences.split(chunk.text, chunk.kind)
        ]
        found += [(chunk, sentence) for _, _, sentence in sorted(covered, key=lambda c: c[:2])[:_EACH]]
    return found


def _dot(one: bytes, other: bytes) -> float:
    size = len(one) // 4
    if len(other) != len(one):
        return 0.0
    pairs = zip(struct.unpack(f"<{size}f", one), struct.unpack(f"<{size}f", other), strict=True)
    return float(sum(a * b for a, b in pairs))
