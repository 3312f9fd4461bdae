"""What is known about one model call while it crosses the gateway, and the record it leaves."""

from __future__ import annotations

import time
from collections.abc import Mapping
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
    only_if_cached: bool = False


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try at one target."""

    provider: str
    model: str
    latency_s: float
    error: str = ""  # an error code; "" when it succeeded
    after_s: float = 0.0  # from the call's start to this try's: what the layers before it took, and earlier tries


class PolicyNote(msgspec.Struct, frozen=True, kw_only=True):
    """What one policy did to one call: kinds of findings and how many, never a text."""

    policy: str
    direction: str  # in | out
    action: str  # observe | mask | refuse
    counts: Mapping[str, int] = {}


class KeptText(msgspec.Struct, frozen=True, kw_only=True):
    """Prompt and answer of one call, masked and cut to size. `document_ids`: whose text is in them; it goes with them."""

    prompt: str
    answer: str
    document_ids: tuple[str, ...] = ()


class Call:
    """The mutable companion of one request: who asks, until when, and what has happened so far.

    Layers write facts here; `record` turns them into a CallRecord when the call ends. One asyncio task owns it at a time.
    """

    __slots__ = (
        "age_s",
        "attempts",
        "cache",
        "cache_reason",
        "cost_usd",
        "deadline",
        "degraded",
        "directives",
        "document_ids",
        "end_user",
        "fence",
        "finish",
        "first_byte_s",
        "id",
        "policies",
        "principal",
        "route",
        "shared_key",
        "started_at_s",
        "started_s",
        "traceparent",
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
        self.end_user = ""  # the caller's label for whom it asks; nothing is granted by it
        self.traceparent = ""  # the caller's W3C trace context, unchecked; nothing is granted by it
        self.shared_key = ""  # hash of all that can change the answer; "" when nobody may share this call
        self.fence = 0  # token of the lease under which this server makes the call for all; 0: none
        self.cache: CacheVerdict = "BYPASS"
        self.cache_reason = ""
        self.age_s: float | None = None  # of the kept answer that was given
        self.attempts: list[Attempt] = []
        self.degraded: list[str] = []
        self.policies: tuple[PolicyNote, ...] = ()
        self.finish = ""
        self.usage = Usage()
        self.cost_usd: float | None = None

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started_s


class CallRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What one call leaves behind. Never a prompt, an answer or a key, unless the operator opted in to the text.

    Where its time went: until `attempts[0].after_s` in our own layers, then at the provider, try by try; `first_byte_s` is
    the caller's first event of a stream, `latency_s` the whole.
    """

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
    cached_tokens: int = 0
    estimated: bool = False
    finish: str = ""
    end_user: str = ""
    policies: tuple[PolicyNote, ...] = ()
    traceparent: str = ""
    text: KeptText | None = None
