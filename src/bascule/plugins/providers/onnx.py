"""Embeds on this machine with a small int8 ONNX model: no key, no vendor, no torch.

Each text runs alone. The activations of a quantised model are scaled over the whole batch, so in a batch a text's vector
would depend on its neighbours (measured: cosine .995 between alone and in 16, as far as int8 is from float32) and carry a
trace of them; alone it is the same every time, a little nearer to float32 and needs no padding. Against batches of 16 it is as fast
from 64 tokens on and a quarter slower at 16.
More threads embed more texts side by side. Queries have a thread of their own, so that a question asked during ingestion
never waits behind documents.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from bascule.core.calls import Call, Usage
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse
from bascule.core.errors import ConfigError, InvalidRequest
from bascule.core.resources import Resources

SLICE: Final = 8  # texts a thread takes at a time: what a cancelled call may still compute


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field("minilm", pattern=r"^[a-z0-9][a-z0-9_-]*$", description="A model made by `bascule models pull`.")
    threads: int = Field(1, ge=1, le=64, description="Documents embedded side by side.")
    max_tokens: int = Field(256, ge=8, le=512, description="Tokens read of each text; the rest is not embedded.")


class OnnxEmbeddingModel:
    """The EmbeddingModel port over one ONNX session, shared by all threads (its `run` is thread-safe)."""

    def __init__(self, session: Any, tokenizer: Any, *, model: str, fingerprint: str, dimension: int, threads: int):
        self._session = session
        self._tokenizer = tokenizer
        self._model = model
        self._fingerprint = fingerprint
        self._dimension = dimension
        self._threads = threads
        self._documents = ThreadPoolExecutor(threads, thread_name_prefix="embed-document")
        self._queries = ThreadPoolExecutor(1, thread_name_prefix="embed-query")

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    @property
    def dimension(self) -> int:
        return self._dimension

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        """Raises InvalidRequest for another model's name or another dimension."""
        self._refuse_others(request)
        embedded = await self._run(request.texts, query=request.purpose == "query")
        return EmbeddingResponse(
            vectors=tuple(vector for vector, _ in embedded),
            dimension=self._dimension,
            model=self._model,
            provider="onnx",
            fingerprint=self._fingerprint,
            usage=Usage(input_tokens=sum(tokens for _, tokens in embedded)),
        )

    async def close(self) -> None:
        """Waits for the slices that run; what is queued is dropped."""
        for pool in (self._documents, self._queries):
            await asyncio.to_thread(pool.shutdown, wait=True, cancel_futures=True)

    def _refuse_others(self, request: EmbeddingRequest) -> None:
        if request.model != self._model:
            raise InvalidRequest(f"This provider embeds with {self._model!r} only.", param="model")
        if request.dimensions not in (None, self._dimension):
            raise InvalidRequest(f"This model has {self._dimension} dimensions only.", param="dimensions")

    async def _run(self, texts: Sequence[str], *, query: bool) -> list[tuple[bytes, int]]:
        """As many slices at once as there are threads: the rest of a cancelled call is never started."""
        loop = asyncio.get_running_loop()
        pool, width = (self._queries, 1) if query else (self._documents, self._threads)
        embedded: list[tuple[bytes, int]] = []
        for start in range(0, len(texts), SLICE * width):
            slices = [texts[i : i + SLICE] for i in range(start, min(start + SLICE * width, len(texts)), SLICE)]
            done = await asyncio.gather(*(loop.run_in_executor(pool, self._embed_all, part) for part in slices))
            embedded += [pair for part in done for pair in part]
        return embedded

    def _embed_all(self, texts: Sequence[str]) -> list[tuple[bytes, int]]:
        return [self._embed_one(text) for text in texts]

    def _embed_one(self, text: str) -> tuple[bytes, int]:
        """The vector (float32, little-endian, unit length) and how many tokens were read."""
        import numpy as np

        encoding = self._tokenizer.encode(text)
        ids = np.array([encoding.ids], dtype=np.int64)
        (vectors,) = self._session.run(["embedding"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        return vectors[0].astype("<f4").tobytes(), ids.shape[1]


class _Manifest(msgspec.Struct, frozen=True):
    """The part of manifest.json that running needs."""

    dimension: int
    model_sha256: str
    tokenizer_sha256: str


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[OnnxEmbeddingModel]:
    """Raises ConfigError when the model is not built yet, or is not the one that was."""
    model = await asyncio.to_thread(_load, settings, resources.models / settings.model)
    try:
        yield model
    finally:
        await model.close()


def _load(settings: Settings, folder: Path) -> OnnxEmbeddingModel:
    manifest = _checked(settings.model, folder)
    return OnnxEmbeddingModel(
        _session(folder / "model.onnx"),
        _tokenizer(folder / "tokenizer.json", settings.max_tokens),
        model=settings.model,
        fingerprint=f"onnx:{settings.model}:int8:{manifest.model_sha256[:12]}",
        dimension=manifest.dimension,
        threads=settings.threads,
    )


def _checked(name: str, folder: Path) -> _Manifest:
    """The files are hashed first: a fingerprint that is not true would mix vectors of two models in one collection."""
    fix = "Run: bascule models pull"
    try:
        manifest = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=_Manifest)
        found = [_sha256_of(folder / file) for file in ("model.onnx", "tokenizer.json")]
    except FileNotFoundError:
        raise ConfigError(f"The embedding model {name!r} has not been built. {fix}") from None
    except msgspec.DecodeError:
        raise ConfigError(f"The manifest of the embedding model {name!r} cannot be read. {fix}") from None
    if found != [manifest.model_sha256, manifest.tokenizer_sha256]:
        raise ConfigError(f"The files of the embedding model {name!r} are not those that were built. {fix}")
    return manifest


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _session(graph: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # texts run side by side instead
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


def _tokenizer(file: Path, max_tokens: int) -> Any:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its pool would warn at every child process
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer
