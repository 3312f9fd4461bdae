"""The Reranker port: how well does each text answer the question?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bascule.core.calls import Call
from bascule.core.documents import VisibleChunk


class Reranker(Protocol):
    """Reads a question and a passage together, which neither an index nor an embedding does."""

    async def scores(self, question: str, chunks: Sequence[VisibleChunk], call: Call) -> list[float]:
        """One finite number for each passage, in order: the higher, the better it answers. The scale is the reranker's own.

        Raises UpstreamError, RequestError (a limit, a policy).
        """
        ...
