"""A gateway under policies, for tests: its records, and everything its state store keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from bascule.core.calls import CallRecord
from bascule.core.policies import Policy
from bascule.gateway.gateway import Gateway, build
from bascule.gateway.routes import Limits, Options, Route, Target
from bascule.plugins.state_stores.memory import MemoryState


class KeepingState(MemoryState):
    """Remembers every value it was ever given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[bytes] = []

    async def put(
        self, key: str, value: bytes, ttl_s: float, tags: Sequence[str] = (), age_s: float = 0.0, fence: int = 0
    ) -> None:
        self.given.append(value)
        await super().put(key, value, ttl_s, tags, age_s, fence)


class PolicyBench(msgspec.Struct):
    gateway: Gateway
    records: list[CallRecord]
    state: KeepingState

    def kept(self) -> bytes:
        """What the cache was given, all of it; never empty."""
        assert self.state.given
        return b"".join(self.state.given)


def with_policies(providers: Sequence[object], policies: Mapping[str, Policy], **route: Any) -> PolicyBench:
    """One route `fast` over these providers, under these policies in their order."""
    named = {f"p{i}": provider for i, provider in enumerate(providers)}
    targets = tuple(Target(provider=f"p{i}", model=f"m{i}") for i in range(len(providers)))
    routes = {"fast": Route(model="fast", targets=targets, policies=tuple(policies), **{"timeout_s": 5.0, **route})}
    records: list[CallRecord] = []
    state = KeepingState()
    gateway = build(routes, named, state, records.append, lambda who: Limits(), Options(), policies=policies)
    return PolicyBench(gateway, records, state)
