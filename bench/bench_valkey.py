"""What the Valkey store costs on loopback: operations a second, CPU of this process for each. python bench/bench_valkey.py"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from bascule.testing.state_store_contract import claim
from bascule.testing.valkey import store as open_store


async def measure(name: str, make: Callable[[], Awaitable[object]], count: int, parallel: int) -> None:
    cpu_s, began_s = time.process_time(), time.perf_counter()
    for _ in range(count // parallel):
        await asyncio.gather(*(make() for _ in range(parallel)))
    took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    print(f"{name:16} {parallel:3} at once {count / took_s:9,.0f}/s {cpu_s / count * 1e6:6.0f} us of CPU each")


async def main() -> None:
    async with open_store(max_bytes=0, timeout_s=2) as far, open_store(timeout_s=2) as near:
        for store in (far, near):
            await store.put("k", b"x" * 2000, 600, tags=["a"])
        while near.near.get("k") is None:
            await near.get("k")
            await asyncio.sleep(0.01)

        async def hold() -> None:
            held, _ = await far.reserve([claim("tokens", 1, 1e12), claim("usd", 1, 1e12, 86_400)], 30)
            await far.settle(held, [1, 1])

        for parallel in (1, 50):
            await measure("get, 2 kB", lambda: far.get("k"), 4000, parallel)
            await measure("get, near", lambda: near.get("k"), 4000, parallel)
            await measure("admit", lambda: far.admit("r", 1e9, 60), 4000, parallel)
            await measure("reserve, settle", hold, 2000, parallel)


asyncio.run(main())
