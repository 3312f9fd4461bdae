"""A cross-encoder on this machine: an ONNX graph and its tokenizer in a folder of the operator's, with no torch and no vendor.

No package carries one that can be trusted (docs/decisions/fusion.md), so none comes with the product: bge-reranker-base,
ms-marco-MiniLM-L-6-v2 and their like are published as `model.onnx` and `tokenizer.json`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from bascule.core.calls import Call
from bascule.core.documents import VisibleChunk
from bascule.core.errors import UpstreamInvalid
from bascule.core.resources import Resources
from bascule.plugins._pairs import PairModel, load_pairs


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path = Field(description="Holds model.onnx and tokenizer.json.")
    sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="Of model.onnx; another file is refused at the start."
    )
    max_tokens: int = Field(320, ge=32, le=8192, description="Tokens read of question and passage together.")


class OnnxReranker:
    def __init__(self, model: PairModel) -> None:
        self._model = model

    async def scores(self, question: str, chunks: Sequence[VisibleChunk], call: Call) -> list[float]:
        """The logit; of a graph with two outputs a pair, that of the second over the first.

        Stops between two passages when the deadline has passed. Raises UpstreamTimeout, UpstreamInvalid.
        """
        found = []
        for chunk in chunks:
            call.deadline.check()
            logits = await self._model.logits(question, chunk.indexed_text)
            found.append(logits[0] if len(logits) == 1 else logits[1] - logits[0])
        if not all(map(math.isfinite, found)):
            raise UpstreamInvalid("The reranker's model gave scores that are not numbers.", provider="onnx")
        return found


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[OnnxReranker]:
    """Raises ConfigError for a folder without the two files, another file than `sha256` says, and a graph of another kind."""
    model = await asyncio.to_thread(
        load_pairs,
        settings.folder,
        name="reranker",
        sha256=settings.sha256,
        max_tokens=settings.max_tokens,
        cut="only_second",
    )
    try:
        yield OnnxReranker(model)
    finally:
        await model.close()
