"""A guard of the operator's own, asked by HTTP: it allows, refuses or rewrites texts.

Asked:    POST {"direction": "in" | "out", "model": NAME, "texts": [TEXT, ...]}
Answers:  {"action": "allow"} or {"action": "refuse", "reason": TEXT} or {"action": "mask", "texts": [TEXT, ...]}
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from bascule.core.errors import PolicyUnavailable, UpstreamError
from bascule.core.http import HttpClient
from bascule.core.policies import PASS, Direction, Matter, Streams, Verdict
from bascule.core.resources import Resources
from bascule.core.secret import bearer_header

MAX_REPLY_BYTES: Final = 20_000_000
MAX_REASON_CHARS: Final = 200


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(description="Where the guard listens. The operator's own: no request can change it.")
    api_key: str | None = Field(None, description='Sent as a bearer token. A reference: "env:NAME" or "file:PATH".')
    directions: tuple[Direction, ...] = Field(("in", "out"), min_length=1, description="What it is asked about.")
    timeout_s: float = Field(2.0, gt=0, description="Longest wait for its verdict, inside the call's own deadline.")
    on_failure: Literal["refuse", "pass"] = Field(
        "refuse", description="Where it does not answer: the call fails (503), or passes and says so."
    )
    streams: Streams = Field(
        "window", description="Answers that stream are judged in windows as they come, or as a whole at their end."
    )
    window_chars: int = Field(400, ge=20, description="A window ends with a sentence after so many characters.")


class _Answer(msgspec.Struct, frozen=True):
    action: Literal["allow", "refuse", "mask"]
    reason: str = ""
    texts: list[str] | None = None


_decode = msgspec.json.Decoder(_Answer).decode


class HttpGuardPolicy:
    def __init__(self, settings: Settings, http: HttpClient, key: str) -> None:
        self.directions = frozenset(settings.directions)
        self.streams: Streams = settings.streams
        self.window_chars = settings.window_chars
        self._url = settings.url
        self._http = http
        self._timeout_s = settings.timeout_s
        self._passes = settings.on_failure == "pass"
        self._headers = {"content-type": "application/json"}
        if key:
            self._headers |= bearer_header(key)

    async def judge(self, texts: Sequence[str], matter: Matter) -> Verdict:
        body = msgspec.json.encode({"direction": matter.direction, "model": matter.model, "texts": texts})
        answer = await self._ask(body, min(self._timeout_s, matter.left_s))
        if answer is None or (answer.action == "mask" and len(answer.texts or ()) != len(texts)):
            if not self._passes:
                raise PolicyUnavailable("A policy could not judge this call. Try again.")
            return Verdict(action="pass", degraded=True)
        if answer.action == "refuse":
            reason = "".join(c for c in answer.reason[:MAX_REASON_CHARS] if c.isprintable())
            return Verdict(action="refuse", reason=reason)
        return PASS if answer.action == "allow" else Verdict(action="mask", texts=answer.texts)

    async def _ask(self, body: bytes, timeout_s: float) -> _Answer | None:
        """None when it did not answer in time, or not in its format."""
        try:
            reply = await self._http.post(self._url, self._headers, body, timeout_s)
            try:
                return _decode(await reply.read(MAX_REPLY_BYTES)) if reply.status == 200 else None
            finally:
                await reply.aclose()
        except (UpstreamError, msgspec.DecodeError, UnicodeDecodeError):
            return None


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[HttpGuardPolicy]:
    key = resources.secret(settings.api_key) if settings.api_key else ""
    yield HttpGuardPolicy(settings, resources.http, key)
