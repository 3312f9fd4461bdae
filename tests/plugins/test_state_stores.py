from __future__ import annotations

from pathlib import Path

import pytest

from bascule.core.resources import Resources
from bascule.plugins.state_stores import _counters, memory
from bascule.plugins.state_stores.memory import ENTRY_OVERHEAD_BYTES, MemoryState
from bascule.testing.state_store_contract import HandClock, StateStoreContract


class TestMemory(StateStoreContract):
    @pytest.fixture
    def store(self, clock: HandClock) -> MemoryState:
        return MemoryState(clock=clock, wall=clock)


async def test_the_least_recently_used_entry_goes_first_when_memory_is_full() -> None:
    store = MemoryState(3 * (ENTRY_OVERHEAD_BYTES + 1 + 100))
    for key in "abc":
        await store.put(key, b"x" * 100, ttl_s=60, tags=())
    assert await store.get("a") is not None
    await store.put("d", b"x" * 100, ttl_s=60)
    assert [key for key in "abcd" if await store.get(key)] == ["a", "c", "d"]


async def test_an_entry_larger_than_all_memory_is_not_kept_and_drops_nothing_else() -> None:
    store = MemoryState(1000)
    await store.put("small", b"x", ttl_s=60)
    await store.put("large", b"x" * 2000, ttl_s=60)
    assert await store.get("large") is None
    assert await store.get("small") == b"x"


async def test_counters_of_keys_long_gone_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_counters, "MAX_COUNTERS", 100)
    clock = HandClock()
    store = MemoryState(clock=clock, wall=clock)
    for i in range(100):
        await store.admit(f"old-{i}", 10, 60)
    clock.move(120)
    await store.admit("new", 10, 60)
    assert len(store._rates) == 1


async def test_the_plugin_connects_with_its_settings() -> None:
    resources = Resources(http=None, data=Path(), models=Path(), secret=str)  # type: ignore[arg-type]
    async with memory.connect(memory.Settings(max_bytes=1), resources) as store:
        await store.put("k", b"v", ttl_s=60)
        assert await store.get("k") is None
