"""What each part of a prompt cost, counted again from what its reader may read: the trace keeps ids, not texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bascule.core.documents import VisibleChunk
from bascule.core.errors import ConfigError
from bascule.core.traces import Trace
from bascule.rag import prompt
from bascule.rag.options import RagOptions
from bascule.rag.tokens import estimate

_FRAME: Final = "<<<passage 1 0123456789abcdef\nabout: \n\n0123456789abcdef 1>>>\n"


def parts(trace: Trace, visible: Mapping[str, VisibleChunk], options: RagOptions) -> dict[str, Any]:
    """The parts in their order with estimated tokens, their sum, and what the model's vendor reported, where it was asked.

    An extractive answer has passages and no prompt. A passage the reader may not read has no row.
    """
    facts = {stage.name: stage.facts for stage in trace.stages}
    written = trace.model != "extractive" and not trace.scrubbed
    rows = _instruction(str(facts.get("prompt", {}).get("template", options.prompt_version))) if written else []
    frame = estimate(_FRAME) if written else 0
    for number, chunk_id in enumerate(trace.chunk_ids, start=1):
        if (chunk := visible.get(chunk_id)) is not None:
            about = estimate(" > ".join((chunk.title or chunk.name, *chunk.heading_path)))
            row = {"part": f"passage {number}", "chunk_id": chunk_id, "text_tokens": estimate(chunk.text)}
            rows.append(row | {"tokens": estimate(chunk.text) + about + frame})
    history = int(facts.get("prompt", {}).get("history_tokens", 0))
    rows += [{"part": "conversation", "tokens": history}] if history else []
    rows.append({"part": "question", "tokens": estimate(trace.question)})
    answered = facts.get("answer", {})
    return {
        "parts": rows,
        "tokens": sum(row["tokens"] for row in rows),
        "reported": answered.get("usage", {}).get("input_tokens"),
        "cost_usd": answered.get("cost_usd"),
        "cache": answered.get("cache"),
    }


def _instruction(version: str) -> list[dict[str, Any]]:
    try:
        return [{"part": f"instruction ({version})", "tokens": estimate(prompt.instruction(version))}]
    except ConfigError:  # a template of an older release
        return []
