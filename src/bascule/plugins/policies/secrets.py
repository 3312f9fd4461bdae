"""Keys and passwords: masked in requests for the vendor, and blotted out of answers where they have a known format.

In a stream a key may come in pieces: what may be the beginning of one is held back, up to HOLD_CHARS characters, and a longer
one is swallowed to its end.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from bascule.core.policies import Action, Direction, Finding, Matter, Streams, Verdict, verdict_on
from bascule.core.recognise import SECRET_KINDS, find
from bascule.core.recognisers import KEY_PREFIXES, KNOWN_KEY
from bascule.core.resources import Resources

HOLD_CHARS: Final = 512
LONG_CHARS: Final = 8_000  # some milliseconds of looking: too long for the event loop
PEM_CHARS: Final = 20_000
_RUN: Final = re.compile(r"[A-Za-z0-9_\-.]+\Z")
_RUN_START: Final = re.compile(r"[^A-Za-z0-9_\-.]")
_PEM_HEAD: Final = re.compile(r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----")
_PEM_BEGIN: Final = "-----BEGIN "
_PEM_HEAD_CHARS: Final = 70
_PEM_TAIL: Final = re.compile(r"-----END [A-Z0-9 ]{0,30}-----")


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    action: Action = Field("mask", description="What happens where a request holds a secret: observe, mask or refuse.")
    answers: bool = Field(True, description="Blot secrets of known formats out of answers.")


class SecretsPolicy:
    streams: Streams = "window"
    window_chars = 0

    def __init__(self, settings: Settings) -> None:
        self._action = settings.action
        self.directions: frozenset[Direction] = frozenset({"in", "out"} if settings.answers else {"in"})

    async def judge(self, texts: Sequence[str], matter: Matter) -> Verdict:
        def look() -> list[list[Finding]]:
            return [find(text, kinds=SECRET_KINDS) for text in texts]

        if sum(map(len, texts)) <= LONG_CHARS:
            return verdict_on(look(), self._action)
        return verdict_on(await asyncio.to_thread(look), self._action)

    def open_filter(self, counts: dict[str, int]) -> SecretFilter:
        return SecretFilter(counts)


class SecretFilter:
    """TextFilter: `[key]` and `[private_key]` for what it finds."""

    __slots__ = ("_counts", "_held", "_swallow", "_swallowed")

    def __init__(self, counts: dict[str, int]) -> None:
        self._counts = counts
        self._held = ""
        self._swallow = ""  # "run": to the end of a key; "pem": to the end of a private key
        self._swallowed = 0

    def feed(self, piece: str) -> str:
        text, self._held = self._held + piece, ""
        shown = ""
        while text:
            if self._swallow:
                text = self._swallowing(text)
                continue
            head = _PEM_HEAD.search(text)
            if head is None:
                return shown + self._keys(text)
            shown += self._masked(text[: head.start()]) + self._mark("private_key")
            self._swallow, text = "pem", text[head.end() :]
        return shown

    def end(self) -> str:
        text, self._held = self._held, ""
        return "" if self._swallow == "pem" else self._masked(text)

    def _keys(self, text: str) -> str:
        cut = self._cut(text)
        if len(text) - cut <= HOLD_CHARS:
            self._held = text[cut:]
            return self._masked(text[:cut])
        if KNOWN_KEY.match(text, cut, cut + HOLD_CHARS):
            self._swallow = "run"
            return self._masked(text[:cut]) + self._mark("key")
        return self._masked(text)

    def _cut(self, text: str) -> int:
        """Where what may be the beginning of a secret begins, at the end of `text`; its length where there is none."""
        pem = text.rfind("-----")
        if pem >= 0 and len(text) - pem <= _PEM_HEAD_CHARS and _may_be_pem(text[pem:]):
            return pem
        run = _RUN.search(text, max(0, len(text) - 5_000))
        if run is None:
            return len(text)
        start = run.start()
        while start < len(text):
            tail = text[start : start + 16]
            if any(tail.startswith(known) or known.startswith(tail) for known in KEY_PREFIXES):
                return start
            dot = text.find(".", start)
            start = dot + 1 if dot >= 0 else len(text)
        dashes = len(text) - len(text.rstrip("-"))  # the first dashes of "-----BEGIN"
        return len(text) - min(dashes, 5)

    def _swallowing(self, text: str) -> str:
        if self._swallow == "run":
            after = _RUN_START.search(text)
            if after is None:
                return ""
            self._swallow = ""
            return text[after.start() :]
        tail = _PEM_TAIL.search(text)
        if tail is not None:
            self._swallow, self._swallowed = "", 0
            return text[tail.end() :]
        self._held = text[-_PEM_HEAD_CHARS:]
        self._swallowed += len(text) - len(self._held)
        if self._swallowed > PEM_CHARS:
            self._swallow, self._swallowed, self._held = "", 0, ""
        return ""

    def _masked(self, text: str) -> str:
        return KNOWN_KEY.sub(lambda _: self._mark("key"), text)

    def _mark(self, kind: str) -> str:
        self._counts[kind] = self._counts.get(kind, 0) + 1
        return f"[{kind}]"


def _may_be_pem(tail: str) -> bool:
    if len(tail) <= len(_PEM_BEGIN):
        return _PEM_BEGIN.startswith(tail)
    rest = tail[len(_PEM_BEGIN) :].rstrip("-")
    return tail.startswith(_PEM_BEGIN) and all(c.isupper() or c.isdigit() or c == " " for c in rest)


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[SecretsPolicy]:
    yield SecretsPolicy(settings)
