"""The built-in embedding model: texts a second, latency of one query, how near to float32, memory.

    python bench/bench_embed.py [--seconds 1.0] [--json FILE]

One row for each length (in tokens) and number of threads: the provider as the service uses it, its event loop included. The floor
of the same row is the bare ONNX session on one thread in batches of 16, padding-free. A last row holds start time and memory.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime

from bascule.core.calls import Call
from bascule.core.deadlines import Deadline
from bascule.core.embedding import EmbeddingRequest
from bascule.core.http import HttpClient
from bascule.core.principals import system_principal
from bascule.core.resources import Resources
from bascule.plugins.providers import onnx

MODELS = Path(os.environ.get("BASCULE_MODELS_DIR") or Path(__file__).parents[1] / ".models")
WORDS = "the bridge opens for ships and closes for cars when river traffic is low in winter".split()  # noqa: SIM905


def text_of(tokens: int) -> str:
    """Common words are one token each; two more are the marks around them."""
    return " ".join(itertools.islice(itertools.cycle(WORDS), tokens - 2))


def memory_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def embed(model: onnx.OnnxEmbeddingModel, texts: tuple[str, ...], purpose: Any = "document") -> int:
    call = Call(system_principal("bench"), Deadline.after(600))
    response = await model.embed(EmbeddingRequest(model="minilm", texts=texts, purpose=purpose), call)
    return response.usage.input_tokens


async def rate(model: onnx.OnnxEmbeddingModel, tokens: int, seconds: float) -> float:
    texts = (text_of(tokens),) * 32
    assert await embed(model, texts[:1]) == tokens, "the text is not as long as stated"
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        await embed(model, texts)
        done += len(texts)
    return done / (time.perf_counter() - start)


async def query_ms(model: onnx.OnnxEmbeddingModel, *, busy: bool) -> float:
    """Median latency of a 16-token query, alone or while documents of 256 tokens are embedded."""
    background = asyncio.create_task(embed(model, (text_of(256),) * 60)) if busy else None
    times = []
    for _ in range(15):
        start = time.perf_counter()
        await embed(model, (text_of(16),), "query")
        times.append(time.perf_counter() - start)
    if background:
        background.cancel()
        await asyncio.gather(background, return_exceptions=True)
    return sorted(times)[len(times) // 2] * 1000


def floor(tokens: int, seconds: float) -> float:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(MODELS / "minilm" / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    ids = np.full((16, tokens), 2000, dtype=np.int64)
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        session.run(None, inputs)
        done += 16
    return done / (time.perf_counter() - start)


async def measure(seconds: float) -> list[dict[str, Any]]:
    resources = Resources(http=cast(HttpClient, None), data=MODELS, models=MODELS, secret=str)
    rows: list[dict[str, Any]] = []
    extra: dict[str, Any] = {"bench": "embed", "row": "query and memory"}
    for threads in (1, 2):
        before_s, before_mb = time.perf_counter(), memory_mb()
        async with onnx.connect(onnx.Settings(threads=threads), resources) as model:
            extra.setdefault("load_s", round(time.perf_counter() - before_s, 3))
            for tokens in (64, 256):
                found = await rate(model, tokens, seconds)
                rows.append({"bench": "embed", "tokens": tokens, "threads": threads, "texts_per_s": round(found, 1)})
            extra.setdefault("added_mb", round(memory_mb() - before_mb, 1))
            extra.setdefault("process_mb", round(memory_mb(), 1))
            if threads == 1:
                extra["query_ms"] = round(await query_ms(model, busy=False), 2)
                extra["query_while_ingesting_ms"] = round(await query_ms(model, busy=True), 2)
    for row in rows:
        row["floor_texts_per_s"] = round(floor(row["tokens"], seconds), 1)
    return [*rows, extra]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not (MODELS / "minilm" / "manifest.json").is_file():
        raise SystemExit("The embedding model is not built. Run: bascule models pull")
    rows = asyncio.run(measure(arguments.seconds))
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    if arguments.json:
        arguments.json.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
