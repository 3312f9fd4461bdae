"""The state store: counters, cache entries and leases that several calls (and, on Valkey, several processes) share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import msgspec


class Admission(msgspec.Struct, frozen=True):
    """What a limit said: `retry_after_s` is 0 when admitted, `limit` names the one that refused.

    `degraded`: a shared store was away, and this process decided alone, by its own stricter share of the limit.
    """

    admitted: bool
    retry_after_s: float = 0.0
    limit: str = ""
    degraded: bool = False


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


class Lease(msgspec.Struct, frozen=True):
    """Who leads the work of a key.

    state  "mine": the asker does, until it releases or the lease ends. "held": somebody else does, now. "done": somebody else
           did, and ended well since the asker began.
    token  of whoever that is; a later leader's is always greater (a fencing token)
    """

    state: Literal["mine", "held", "done"]
    token: int


class StateStore(Protocol):
    """Every method is atomic. Raises StorageError when the store does not answer; `admit` and `reserve` of a store that can
    decide alone then say `degraded` instead."""

    @property
    def shared(self) -> bool:
        """Other processes see the same store."""
        ...

    async def get(self, key: str) -> bytes | None: ...

    async def put(
        self, key: str, value: bytes, ttl_s: float, tags: Sequence[str] = (), age_s: float = 0.0, fence: int = 0
    ) -> None:
        """Keep for `ttl_s` seconds. `tags` (document ids, tenants) let `purge` find it.

        `age_s`: how long ago the work that led to `value` began. Nothing is kept when one of its tags was purged since:
        so an answer under way while its source is deleted does not bring the source's text back.
        `fence`: the token of the lease on `key` under which the work was done (0: none). Nothing is kept when a later leader
        has been granted the lease or has put its own value.
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

    async def lease(self, key: str, ttl_s: float, age_s: float = 0.0) -> Lease:
        """Ask to lead the work of `key` for `ttl_s` seconds. `age_s`: how long ago the asker began; 0 never says "done"."""
        ...

    async def renew(self, key: str, token: int, ttl_s: float) -> bool:
        """The lease ends `ttl_s` from now; False when it is no longer this token's."""
        ...

    async def release(self, key: str, token: int, done_s: float = 0.0) -> None:
        """Lead no more. With `done_s` the work ended well, which is remembered that long. Changes nothing for an old token."""
        ...


@runtime_checkable
class StateAtHand(Protocol):
    """What a store in this process's own memory can do besides: answer without being waited for."""

    def look(self, key: str) -> bytes | None:
        """As `get`."""
        ...

    def admit_at_once(self, gates: Sequence[tuple[str, float]], window_s: float) -> bool:
        """As `admit` of each (key, limit), if all of them admit; else nothing is counted anywhere."""
        ...
