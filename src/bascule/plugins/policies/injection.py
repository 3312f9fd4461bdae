"""Signs of prompt injection in requests, counted. Telemetry only: a hint for people who watch, never a control.

Whoever writes an attack knows such lists and words around them; what keeps an attack harmless is that the model has no hands.
The signs follow OWASP's LLM01 (prompt injection) and the phrases of published attack collections.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from bascule.core.policies import PASS, Direction, Matter, Streams, Verdict
from bascule.core.resources import Resources

_I: Final = re.IGNORECASE
_SIGNS: Final = {
    "override": re.compile(
        r"\b(?:ignore|disregard|forget|override)\b.{0,30}\b(?:previous|prior|above|earlier|all|your)\b.{0,30}"
        r"\b(?:instructions?|rules|prompts?|messages?|guidelines)\b", _I),
    "reveal": re.compile(
        r"\b(?:reveal|print|show|repeat|output|leak)\b.{0,30}\b(?:system prompt|initial prompt|hidden|instructions above)\b", _I),
    "persona": re.compile(
        r"\b(?:you are now|from now on you are|act as|pretend to be)\b.{0,40}"
        r"\b(?:DAN|unrestricted|jailbroken|no rules|developer mode)\b", _I),
    "fake_turn": re.compile(r"(?:^|\n)\s*(?:<\|im_start\|>|\[/?INST\]|### ?(?:system|instruction)|<\|?system\|?>)", _I),
    "conceal": re.compile(r"\b(?:do not|don't|never) (?:tell|mention|inform)\b.{0,30}\b(?:user|human|anyone)\b", _I),
    "exfiltrate": re.compile(r"!\[[^\]]{0,80}\]\(https?://[^)]{0,300}[?&][^)]{0,40}=", _I),
    "hidden_text": re.compile("[\u200b\u2060\U000e0020-\U000e007f]{4,}"),
}  # fmt: skip


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    score: float = Field(
        0.3, gt=0, le=1, description="From what share of the known signs on a call is noted, between 0 and 1."
    )


class InjectionPolicy:
    directions: frozenset[Direction] = frozenset({"in"})
    streams: Streams = "whole"
    window_chars = 0

    def __init__(self, settings: Settings) -> None:
        self._score = settings.score

    async def judge(self, texts: Sequence[str], matter: Matter) -> Verdict:
        counts = {sign: sum(pattern.search(text) is not None for text in texts) for sign, pattern in _SIGNS.items()}
        found = {sign: count for sign, count in counts.items() if count}
        if not found or score(len(found)) < self._score:
            return PASS
        return Verdict(action="observe", counts=found)


def score(signs: int) -> float:
    """0 for none, 0.5 for one, towards 1: every further sign halves what is left."""
    return 1.0 - 0.5**signs


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[InjectionPolicy]:
    yield InjectionPolicy(settings)
