"""What calls came to: added up by day, model and key. No text and no person's name is in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from bascule.core.principals import Principal


class UsageRow(msgspec.Struct, frozen=True, kw_only=True):
    """`day`: as 2026-01-31, UTC. `hits`: answered from the cache. `cost_usd`: of the calls whose model has a price."""

    day: str
    model: str
    key_id: str
    calls: int
    failed: int
    hits: int
    input_tokens: int
    output_tokens: int
    cost_usd: float


class UsageRows(msgspec.Struct, frozen=True):
    """`more`: there are older rows than these, so that sums over `rows` fall short."""

    rows: Sequence[UsageRow]
    more: bool = False


class Usage(Protocol):
    async def usage(self, principal: Principal, since_s: float) -> UsageRows:
        """Newest day first: of the principal's own calls since then, or of all of the tenant's for an admin."""
        ...
