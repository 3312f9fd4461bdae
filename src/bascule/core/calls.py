"""What is known about one model call while it crosses the gateway, and the record it leaves."""

from __future__ import annotations

import time
from typing import Literal

import msgspec

from bascule.core.deadlines import Deadline
from bascule.core.ids import new_id
from bascule.core.principals import Principal

CacheVerdict = Literal["HIT", "MISS", "BYPASS", "STALE"]
Outcome = Literal["ok", "error", "cancelled", "cut"]


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens as the vendor reported them; `estimated` when it did not."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    estimated: bool = False


class CacheDirectives(msgspec.Struct, frozen=True, kw_only=True):
    """The caller's own wishes (`Cache-Control`): they can only narrow what the route allows."""

    no_store: bool = False
    no_cache: bool = False
    max_age_s: float | None = None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try at one target."""

    provider: str
    model: str
    latency_s: float
    error: str = ""  # an error code; "" when it succeeded


class Call:
    """The mutable companion of one request: who asks, until when, and what has happened so far.

    Layers write facts here; `record` turns them into a CallRecord when the call ends. One asyncio task owns it at a time.
    """

    __slots__ = (
        "attempts",
        "cache",
        "cache_reason",
        "cost_usd",
        "deadline",
        "degraded",
        "directives",
        "document_ids",
        "first_byte_s",
        "id",
        "principal",
        "route",
        "shared_key",
        "started_at_s",
        "started_s",
        "usage",
    )

    def __init__(
        self,
        principal: Principal,
        deadline: Deadline,
        *,
        id: str | None = None,
        directives: CacheDirectives | None = None,
        document_ids: frozenset[str] = frozenset(),
    ) -> None:
        self.id = id or new_id()
        self.principal = principal
        self.deadline = deadline
        self.directives = directives
        self.document_ids = document_ids  # documents whose text is in the prompt (law 4: stored text carries their ids)
        self.started_s = time.monotonic()
        self.started_at_s = time.time()
        self.first_byte_s: float | None = None
        self.route = ""
        self.shared_key = ""  # hash of all that can change the answer; "" when nobody may share this call
        self.cache: CacheVerdict = "BYPASS"
        self.cache_reason = ""
        self.attempts: list[Attempt] = []
        self.degraded: list[str] = []
        self.usage = Usage()
        self.cost_usd: float | None = None

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started_s


class CallRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What one call leaves behind. Never a prompt, an answer or a key, unless the operator opted in to the text."""

    id: str
    tenant: str
    subject: str
    key_id: str
    operation: str  # chat | stream | embed
    model: str  # the name the caller used
    provider: str
    provider_model: str
    started_at_s: float
    latency_s: float
    first_byte_s: float | None
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    cache: str
    cache_reason: str
    outcome: Outcome
    error: str
    attempts: tuple[Attempt, ...]
    degraded: tuple[str, ...] = ()
