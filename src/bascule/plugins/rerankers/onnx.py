"""A cross-encoder on this machine: an ONNX graph and its tokenizer in a folder of the operator's, with no torch and no vendor.

No package carries one that can be trusted (docs/decisions/fusion.md), so none comes with the product: bge-reranker-base,
ms-marco-MiniLM-L-6-v2 and their like are published as `model.onnx` and `tokenizer.json`.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from bascule.core.calls import Call
from bascule.core.documents import VisibleChunk
from bascule.core.errors import ConfigError, UpstreamInvalid
from bascule.core.resources import Resources

_INPUTS: Final = frozenset({"input_ids", "attention_mask", "token_type_ids"})


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path = Field(description="Holds model.onnx and tokenizer.json.")
    sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="Of model.onnx; another file is refused at the start."
    )
    max_tokens: int = Field(320, ge=32, le=8192, description="Tokens read of question and passage together.")


class OnnxReranker:
    """One pair at a time on a thread of its own: a batch of a quantised graph would let passages change each other's scores."""

    def __init__(self, session: Any, tokenizer: Any) -> None:
        self._session = session
        self._tokenizer = tokenizer
        self._inputs = [given.name for given in session.get_inputs()]
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="rerank")

    async def scores(self, question: str, chunks: Sequence[VisibleChunk], call: Call) -> list[float]:
        """Stops between two passages when the deadline has passed. Raises UpstreamTimeout, UpstreamInvalid."""
        loop = asyncio.get_running_loop()
        found = []
        for chunk in chunks:
            call.deadline.check()
            found.append(await loop.run_in_executor(self._pool, self._score, question, chunk.indexed_text))
        if not all(map(math.isfinite, found)):
            raise UpstreamInvalid("The reranker's model gave scores that are not numbers.", provider="onnx")
        return found

    async def close(self) -> None:
        await asyncio.to_thread(self._pool.shutdown, wait=True, cancel_futures=True)

    def _score(self, question: str, text: str) -> float:
        """The logit; of a graph with two outputs a pair, that of the second over the first."""
        import numpy as np

        encoding = self._tokenizer.encode(question, text)
        known = {
            "input_ids": encoding.ids,
            "attention_mask": encoding.attention_mask,
            "token_type_ids": encoding.type_ids,
        }
        given = {name: np.array([known[name]], dtype=np.int64) for name in self._inputs}
        logits = self._session.run(None, given)[0].reshape(-1)
        return float(logits[0]) if logits.size == 1 else float(logits[1] - logits[0])


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[OnnxReranker]:
    """Raises ConfigError for a folder without the two files, another file than `sha256` says, and a graph of another kind."""
    reranker = await asyncio.to_thread(_load, settings)
    try:
        yield reranker
    finally:
        await reranker.close()


def _load(settings: Settings) -> OnnxReranker:
    import onnxruntime

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its pool would warn at every child process
    from tokenizers import Tokenizer

    graph, words = settings.folder / "model.onnx", settings.folder / "tokenizer.json"
    for file in (graph, words):
        if not file.is_file():
            raise ConfigError(f"The reranker's folder {str(settings.folder)!r} holds no {file.name}.")
    if settings.sha256 is not None:
        with graph.open("rb") as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest() != settings.sha256:
                raise ConfigError(f"{str(graph)!r} is not the file that rag.reranker.sha256 names.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        tokenizer = Tokenizer.from_file(str(words))
    except Exception as error:  # noqa: BLE001 - the errors of the two libraries have no other base
        raise ConfigError(
            f"The reranker in {str(settings.folder)!r} cannot be loaded: {type(error).__name__}."
        ) from None
    unknown = sorted({given.name for given in session.get_inputs()} - _INPUTS)
    if unknown:
        raise ConfigError(
            f"The reranker in {str(settings.folder)!r} is no cross-encoder: it asks for {', '.join(unknown)}."
        )
    tokenizer.no_padding()
    tokenizer.enable_truncation(settings.max_tokens, strategy="only_second")
    return OnnxReranker(session, tokenizer)
