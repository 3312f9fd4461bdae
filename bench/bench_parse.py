"""How fast documents become chunks, through the sandbox as in production, beside the same work done in process.

    python bench/bench_parse.py [--json FILE] [--documents N] [--tokenizer tokenizer.json]

One JSON object per row: documents/s and MB/s of input. The floor is `in_process`: the difference is what the wall costs.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import pydoc_data.topics
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import docx

from bascule.child import parser_of
from bascule.rag import tokens
from bascule.rag.prepare import PrepareOptions, Tokens, prepare
from bascule.rag.sandbox import SandboxOptions, open_sandbox
from bascule.testing.documents import line, pdf

Files = Sequence[tuple[str, bytes]]


def corpora(documents: int) -> dict[str, Files]:
    topics = [(f"{name}.txt", text.encode()) for name, text in pydoc_data.topics.topics.items()]
    words = "The refund period for books is thirty days from purchase and ten for toys. "
    small = [(f"note{n}.txt", f"Note {n}\n======\n\n{words * 8}".encode()) for n in range(documents)]
    joined = "\n\n".join(text for _, text in sorted(pydoc_data.topics.topics.items()))
    page = "".join(line(f"{words[:60]} {n}", y=740 - 14 * n, size=10) + "\n" for n in range(45))
    return {
        "small_text": small,
        "pydoc_topics": topics,
        "one_large_text": [("all.txt", joined.encode())],
        "markdown": [(f"m{n}.md", f"# Note {n}\n\n{words * 20}\n\n- a\n- b\n".encode()) for n in range(documents // 2)],
        "html": [
            (f"h{n}.html", f"<!doctype html><h1>Note</h1>{f'<p>{words}</p>' * 20}".encode())
            for n in range(documents // 2)
        ],
        "pdf_20_pages": [(f"p{n}.pdf", pdf([page] * 20)) for n in range(10)],
        "docx": [(f"w{n}.docx", _word_file(words)) for n in range(20)],
    }


def _word_file(words: str) -> bytes:
    document = docx.Document()
    for n in range(40):
        document.add_heading(f"Part {n}", 2)
        document.add_paragraph(words * 3)
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def row(corpus: str, how: str, files: Files, chunks: int, wall_s: float) -> dict[str, Any]:
    size = sum(len(data) for _, data in files)
    return {
        "bench": "parse", "corpus": corpus, "how": how, "documents": len(files), "chunks": chunks, "input_bytes": size,
        "documents_per_s": round(len(files) / wall_s, 1), "mb_per_s": round(size / wall_s / 1e6, 2), "wall_s": round(wall_s, 3),
    }  # fmt: skip


def in_process(corpus: str, files: Files, options: PrepareOptions) -> dict[str, Any]:
    counter = Tokens(*tokens.load(options.tokenizer))
    prepare(
        files[0][1], files[0][0], "", parser_of, options, counter
    )  # imports are the child's business, not the floor's
    start = time.perf_counter()
    chunks = sum(len(prepare(data, name, "", parser_of, options, counter).chunks) for name, data in files)
    return row(corpus, "in_process", files, chunks, time.perf_counter() - start)


async def sandboxed(corpus: str, files: Files, options: PrepareOptions) -> dict[str, Any]:
    async with open_sandbox(SandboxOptions(prepare=options)) as box:
        await box.prepare(files[0][1], files[0][0], "")
        start = time.perf_counter()
        chunks = 0
        for name, data in files:
            chunks += len((await box.prepare(data, name, "")).chunks)
        return row(corpus, "sandbox", files, chunks, time.perf_counter() - start)


async def start_of_child(options: PrepareOptions) -> dict[str, Any]:
    start = time.perf_counter()
    async with open_sandbox(SandboxOptions(prepare=options)) as box:
        await box.prepare(b"first", "first.txt", "")
        wall_s = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return {
        "bench": "parse",
        "corpus": "none",
        "how": "first_document",
        "wall_s": round(wall_s, 3),
        "child_peak_bytes": peak,
    }


def main(emit: Callable[[str], None] = print) -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--documents", type=int, default=400)
    arguments.add_argument("--tokenizer", default="")
    given = arguments.parse_args()
    options = PrepareOptions(tokenizer=given.tokenizer)
    rows = [asyncio.run(start_of_child(options))]
    for corpus, files in corpora(given.documents).items():
        rows += [in_process(corpus, files, options), asyncio.run(sandboxed(corpus, files, options))]
    for found in rows:
        emit(json.dumps(found))
    if given.json:
        given.json.write_text("".join(json.dumps(found) + "\n" for found in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
