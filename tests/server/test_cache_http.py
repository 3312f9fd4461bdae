"""The cache through a real server: from the configuration to the headers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

from bascule.testing.running import running, settings_for
from bascule.testing.upstream import Fault, fake_upstream

BODY = {"model": "faq", "messages": [{"role": "user", "content": "hi"}]}


async def test_verdict_reason_age_and_staleness_are_in_the_headers(tmp_path: Path) -> None:
    async with fake_upstream() as up:
        settings = settings_for(
            tmp_path,
            rag={"enabled": False},
            providers={"p": {"kind": "openai", "base_url": up.url}},
            models={
                "faq": {
                    "targets": [{"provider": "p", "model": "m", "weight": 2, "tier": 1, "max_concurrent": 4}],
                    "balance": "least_busy",
                    "hedge_after_s": 5,
                    "cache_ttl_s": 0.3,
                    "stale_if_error_s": 60,
                }
            },
            gateway={"max_attempts": 1, "cache_ttl_jitter": 0.0},
        )
        async with running(settings) as (url, _, admin), aiohttp.ClientSession(url) as http:

            async def ask(**headers: str) -> tuple[int, str | None, str | None, str | None]:
                sent = {"authorization": f"Bearer {admin}", **headers}
                async with http.post("/v1/chat/completions", json=BODY, headers=sent) as reply:
                    await reply.read()
                    found = [reply.headers.get(n) for n in ("x-bascule-cache", "x-bascule-cache-reason", "age")]
                    return reply.status, found[0], found[1], found[2]

            only = {"cache-control": "only-if-cached"}
            assert (await ask(**only))[:2] == (504, "MISS")
            assert await ask() == (200, "MISS", "not asked before", None)
            assert await ask() == (200, "HIT", "the same request was answered before", "0")
            up.always = Fault(status=500)
            await asyncio.sleep(0.31)  # the entry's own lifetime
            assert await ask() == (200, "STALE", "the model failed (upstream_unavailable)", "0")
            purge = {"scope": "model", "id": "faq"}
            async with http.delete("/v1/cache", params=purge, headers={"authorization": f"Bearer {admin}"}) as reply:
                assert await reply.json() == {"removed": 1}
            assert (await ask())[0] == 502
