"""The last word on the order: by features and nearest sentences, or by a Reranker over the first of them.

A reranker that fails or takes too long leaves the order as the features made it, and the answer says so (law 11).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from bascule.core.documents import Hit
from bascule.core.errors import RequestError, UpstreamError
from bascule.core.reranking import Reranker
from bascule.rag import rerank
from bascule.rag.advice import spent
from bascule.rag.closeness import Closeness
from bascule.rag.inquiry import STEP_SHARE, Inquiry
from bascule.rag.options import RagOptions
from bascule.rag.retrieve import Retrieved

logger = logging.getLogger(__name__)
RERANK_FAILED: Final = "rerank_failed"


class Reordering:
    def __init__(self, reranker: Reranker | None, closeness: Closeness, options: RagOptions) -> None:
        self._reranker = reranker
        self._closeness = closeness
        self._options = options

    async def order(self, ask: Inquiry, query: str, retrieved: Retrieved, facts: dict[str, Any]) -> list[Hit]:
        """Best first; scores 0..1 that never rise along the list. `facts` takes "asked" and, when it failed, "lacks"."""
        options = self._options
        reading = rerank.read(query, [hit.chunk for hit in retrieved.hits[: options.rerank_depth]])
        featured = rerank.rerank(reading, retrieved.hits, weight=options.rerank_weight, depth=options.rerank_depth)
        head = featured[: options.rerank_depth]
        if self._reranker is None:
            return await self._closeness.order(ask, reading, retrieved, featured, facts)
        if len(head) < 2:
            return featured
        chunks = [hit.chunk for hit in head]
        call = ask.call(
            timeout_s=options.rerank_timeout_s,
            share=STEP_SHARE,
            document_ids=frozenset(chunk.document_id for chunk in chunks),
        )
        asked: dict[str, Any] = {"for": "rerank", "passages": len(chunks)}
        try:
            scores = await self._reranker.scores(query, chunks, call)
        except (UpstreamError, RequestError) as error:
            logger.warning("passages keep the order of their features: the reranker failed (%s)", error.code)
            facts["lacks"] = [RERANK_FAILED]
            asked["error"] = error.code
            return featured
        finally:
            facts.setdefault("asked", []).append(asked | spent(call))
        return _by(scores, head) + featured[len(head) :]


def _by(scores: Sequence[float], head: Sequence[Hit]) -> list[Hit]:
    """The head in the reranker's order; it shares out the scores that the head had, so that they stay comparable."""
    order = sorted(range(len(head)), key=lambda at: (-scores[at], at))
    return [
        msgspec.structs.replace(
            head[at], score=head[place].score, parts={**head[at].parts, "reranker": round(scores[at], 6)}
        )
        for place, at in enumerate(order)
    ]
