"""Personal data in requests: e-mail, phone, card and account numbers. Masked for the vendor, themselves again for the caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from bascule.core.policies import Action, Direction, Finding, Matter, Streams, Verdict, verdict_on
from bascule.core.recognise import find
from bascule.core.resources import Resources

Kind = Literal["email", "phone", "card", "iban", "ssn", "national_id", "ip"]


LONG_CHARS: Final = 8_000  # some milliseconds of looking: too long for the event loop


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    action: Action = Field("mask", description="What happens where something is found: observe, mask or refuse.")
    kinds: tuple[Kind, ...] = Field(
        ("email", "phone", "card", "iban", "ssn", "national_id"), min_length=1, description="What is looked for."
    )


class PiiPolicy:
    directions: frozenset[Direction] = frozenset({"in"})
    streams: Streams = "whole"
    window_chars = 0

    def __init__(self, settings: Settings) -> None:
        self._action = settings.action
        self._kinds = frozenset(settings.kinds)

    async def judge(self, texts: Sequence[str], matter: Matter) -> Verdict:
        def look() -> list[list[Finding]]:
            return [find(text, kinds=self._kinds) for text in texts]

        if sum(map(len, texts)) <= LONG_CHARS:
            return verdict_on(look(), self._action)
        return verdict_on(await asyncio.to_thread(look), self._action)


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[PiiPolicy]:
    yield PiiPolicy(settings)
