"""The state store: counters, cache entries and leases that several calls (and, on Valkey, several processes) share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec


class Admission(msgspec.Struct, frozen=True):
    """What a limit said: `retry_after_s` is 0 when admitted, `limit` names the one that refused."""

    admitted: bool
    retry_after_s: float = 0.0
    limit: str = ""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A share of one limited thing: `amount` of `key`, of which `limit` may be held in each window of `window_s` seconds.

    Windows are those of the calendar (UTC): each minute, each day starts a new one.

    kind  "window": `window_s` long. "month": a calendar month (UTC); `window_s` is not read. "slot": what is held at this
          moment, given back whole when it is settled or its lease ends, whatever is said to have been used.
    """

    key: str
    amount: float
    limit: float
    window_s: float
    name: str  # what the caller is told, e.g. "tokens per minute of this key"
    kind: Literal["window", "month", "slot"] = "window"


class StateStore(Protocol):
    """Every method is atomic. Raises StorageError when the store does not answer."""

    async def get(self, key: str) -> bytes | None: ...

    async def put(self, key: str, value: bytes, ttl_s: float, tags: Sequence[str] = (), age_s: float = 0.0) -> None:
        """Keep for `ttl_s` seconds. `tags` (document ids, tenants) let `purge` find it.

        `age_s`: how long ago the work that led to `value` began. Nothing is kept when one of its tags was purged since:
        so an answer under way while its source is deleted does not bring the source's text back.
        """
        ...

    async def delete(self, key: str) -> None: ...

    async def purge(self, tag: str) -> int:
        """Remove every entry carrying this tag; how many there were."""
        ...

    async def admit(self, key: str, limit: float, window_s: float, amount: float = 1.0) -> Admission:
        """GCRA (generic cell rate algorithm, ITU-T I.371), exact under concurrency: bursts of at most `limit`, refilled at
        `limit` per `window_s`."""
        ...

    async def reserve(self, claims: Sequence[Claim], lease_s: float) -> tuple[str, Admission]:
        """All claims or none. Returns a reservation id ("" when refused); one never settled is given back after `lease_s`."""
        ...

    async def settle(self, reservation_id: str, amounts: Sequence[float]) -> None:
        """Replace what was reserved by what was used, claim by claim. Settling twice, or after the lease, changes nothing."""
        ...
