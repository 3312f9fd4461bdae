"""Entailment on this machine: a cross-encoder for natural language inference in a folder of the operator's.

No package carries one with a licence (docs/decisions/judges.md), so none comes with the product: nli-deberta-v3-xsmall,
MiniLM2-L6-H768 and their like are published as `model.onnx`, `tokenizer.json` and `config.json`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from bascule.core.calls import Call
from bascule.core.errors import ConfigError, UpstreamInvalid
from bascule.core.resources import Resources
from bascule.plugins._pairs import PairModel, load_pairs


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path = Field(description="Holds model.onnx, tokenizer.json and, unless `entailment` is set, config.json.")
    sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="Of model.onnx; another file is refused at the start."
    )
    max_tokens: int = Field(512, ge=32, le=8192, description="Tokens read of passage and sentence together.")
    least: float = Field(0.5, gt=0, lt=1, description="The probability of entailment that a sentence needs.")
    entailment: int | None = Field(
        None, ge=0, description="Which of the graph's outputs is entailment; config.json says it where this is not set."
    )


class OnnxJudge:
    def __init__(self, model: PairModel, *, entailment: int, least: float) -> None:
        self._model = model
        self._entailment = entailment
        self.least = least

    async def entails(self, passage: str, sentence: str, call: Call) -> float:
        """Raises UpstreamTimeout, UpstreamInvalid."""
        call.deadline.check()
        logits = await self._model.logits(passage, sentence)
        if self._entailment >= len(logits) or not all(map(math.isfinite, logits)):
            raise UpstreamInvalid("The judge's model gave no probability of entailment.", provider="onnx")
        highest = max(logits)
        shares = [math.exp(value - highest) for value in logits]
        return shares[self._entailment] / sum(shares)


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[OnnxJudge]:
    """Raises ConfigError for a folder without the files, another file than `sha256` says, a graph of another kind, and where
    nothing says which output is entailment."""
    model = await asyncio.to_thread(
        load_pairs,
        settings.folder,
        name="entailment",
        sha256=settings.sha256,
        max_tokens=settings.max_tokens,
        cut="only_first",
    )
    try:
        given = settings.entailment
        yield OnnxJudge(model, entailment=_labelled(settings.folder) if given is None else given, least=settings.least)
    finally:
        await model.close()


def _labelled(folder: Path) -> int:
    """The output that config.json calls entailment."""
    try:
        labels = msgspec.json.decode((folder / "config.json").read_bytes(), type=dict[str, Any]).get("id2label", {})
        found = [int(number) for number, label in labels.items() if str(label).casefold() == "entailment"]
    except (OSError, ValueError, AttributeError, msgspec.DecodeError):
        found = []
    if len(found) != 1:
        raise ConfigError(
            f"Nothing in {str(folder)!r} says which output is entailment: set rag.entailment.entailment to its number."
        )
    return found[0]
