"""Repetitions of a cached request, which are answered at once: nothing that holds for other requests is lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from bascule.bootstrap import App
from bascule.core.principals import system_principal
from bascule.settings import Settings
from bascule.testing.running import running, settings_for, until

QUESTION = {"model": "fast", "messages": [{"role": "user", "content": "What is a bascule?"}]}
ECHO: dict[str, Any] = {
    "rag": {"enabled": False},
    "providers": {"echo": {"kind": "echo"}},
    "models": {"fast": {"targets": [{"provider": "echo", "model": "echo"}]}},
}


class Client:
    """One key over one connection. `at_once`: how many of its answers no layer was asked for; `file[0]`: the configuration."""

    def __init__(self, http: aiohttp.ClientSession, app: App, key: str, file: list[Settings]) -> None:
        self.http, self.app, self.key, self.file, self.at_once = http, app, key, file, 0
        answer = app.gateway.answer

        def counted(*given: Any) -> Any:
            found = answer(*given)
            self.at_once += found is not None
            return found

        app.gateway.answer = counted  # type: ignore[method-assign]

    async def ask(self, key: str = "", **headers: str) -> tuple[int, str]:
        """Status and the cache's verdict."""
        sent = {"authorization": f"Bearer {key or self.key}", **headers}
        async with self.http.post("/v1/chat/completions", json=QUESTION, headers=sent) as reply:
            await reply.read()
            return reply.status, reply.headers.get("x-bascule-cache", "")

    async def known(self) -> None:
        """Ask until it is answered at once."""
        for _ in range(3):
            await self.ask()
        assert self.at_once == 1

    async def make(self, **fields: Any) -> dict[str, Any]:
        sent = {"authorization": f"Bearer {self.key}"}
        async with self.http.post("/v1/keys", json={"name": "n", "scopes": ["chat"]} | fields, headers=sent) as reply:
            found: dict[str, Any] = await reply.json()
        await self.app.authenticator.refresh()
        return found

    async def post(self, path: str, **body: Any) -> int:
        async with self.http.post(path, json=body, headers={"authorization": f"Bearer {self.key}"}) as reply:
            return reply.status


@asynccontextmanager
async def client(folder: Path, **sections: Any) -> AsyncIterator[Client]:
    now = [settings_for(folder, **{**ECHO, **sections})]

    def source() -> Settings:
        return now[0]

    connector = aiohttp.TCPConnector(limit=1)
    async with (
        running(now[0], source=source) as (url, app, admin),
        aiohttp.ClientSession(url, connector=connector) as http,
    ):
        yield Client(http, app, admin, now)


async def test_every_answer_at_once_leaves_its_own_record_and_is_counted(tmp_path: Path) -> None:
    async with client(tmp_path) as c:
        for _ in range(5):
            await c.ask()
        assert c.at_once == 3
        await c.app.calls.flush()
        records = await c.app.catalogue.calls(system_principal("default"), 10)
        assert [r.cache for r in records] == ["HIT"] * 4 + ["MISS"] and len({r.id for r in records}) == 5
        alike = [
            msgspec.structs.replace(r, id="", started_at_s=0.0, latency_s=0.0, first_byte_s=None) for r in records[:4]
        ]
        assert all(record == alike[3] for record in alike)  # the last of them went through all layers
        async with c.http.get("/metrics", headers={"authorization": f"Bearer {c.key}"}) as reply:
            text = await reply.text()
        assert 'bascule_http_requests_total{route="/v1/chat/completions",status="200"} 5.0' in text


async def test_a_revoked_an_expired_and_a_narrowed_key_are_refused_at_their_next_request(tmp_path: Path) -> None:
    async with client(tmp_path) as c:
        c.key, admin = (made := await c.make())["key"], c.key
        await c.known()
        c.key = admin
        assert await c.post(f"/v1/keys/{made['id']}/expire", expires_at="2020-01-01T00:00:00Z") == 200
        await until(lambda: c.app.authenticator.holder(c.app.authenticator.hashed(made["key"])) is None, 2)
        assert (await c.ask(made["key"]))[0] == 401
        soon = datetime.now(UTC) + timedelta(seconds=0.5)  # expiry is by the clock, with no change of the catalogue
        other = await c.make(expires_at=soon.isoformat())
        assert [(await c.ask(other["key"]))[0] for _ in range(3)] == [200] * 3
        await until(lambda: datetime.now(UTC) > soon, 2)
        assert (await c.ask(other["key"]))[0] == 401
        third = await c.make()
        assert [(await c.ask(third["key"]))[0] for _ in range(3)] == [200] * 3
        sent = {"authorization": f"Bearer {c.key}"}
        async with c.http.delete(f"/v1/keys/{third['id']}", headers=sent) as reply:
            assert reply.status in (200, 204)
        began = asyncio.get_running_loop().time()
        while (await c.ask(third["key"]))[0] == 200:
            assert asyncio.get_running_loop().time() - began < 1.0


async def test_answers_at_once_count_towards_the_limit(tmp_path: Path) -> None:
    async with client(tmp_path) as c:
        made = await c.make(requests_per_min=7)
        assert [(await c.ask(made["key"]))[0] for _ in range(9)] == [200] * 7 + [429] * 2
        assert c.at_once == 7 - 2


async def test_what_the_caller_wishes_of_the_cache_and_what_is_purged_or_deleted_holds(tmp_path: Path) -> None:
    async with client(tmp_path) as c:
        await c.known()
        assert await c.ask(**{"cache-control": "no-cache"}) == (200, "BYPASS")
        assert await c.ask(**{"cache-control": "no-store"}) == (200, "BYPASS")
        assert await c.ask() == (200, "HIT")
        sent = {"authorization": f"Bearer {c.key}"}
        async with c.http.delete("/v1/cache", params={"scope": "model", "id": "fast"}, headers=sent) as reply:
            assert (await reply.json())["removed"] == 1
        assert await c.ask() == (200, "MISS")
        await c.ask()
        (key,) = c.app.state._entries  # type: ignore[attr-defined]
        entry = c.app.state._entries[key].value  # type: ignore[attr-defined]
        await c.app.state.put(key, entry, 60.0, ["document-1"])
        assert await c.ask() == (200, "HIT")
        await c.app.state.purge("document-1")  # as when it is deleted
        assert await c.ask() == (200, "MISS")


async def test_an_entry_past_its_lifetime_is_not_given(tmp_path: Path) -> None:
    short = {"fast": ECHO["models"]["fast"] | {"cache_ttl_s": 0.5}}
    async with client(tmp_path, models=short) as c:
        await c.known()
        await asyncio.sleep(0.5)  # the entry's own lifetime
        assert await c.ask() == (200, "MISS")


async def test_a_changed_configuration_holds_from_the_next_request_on(tmp_path: Path) -> None:
    async with client(tmp_path) as c:
        await c.known()
        limited = ECHO["models"]["fast"] | {"limits": {"requests_per_min": 1}}
        c.file[0] = settings_for(tmp_path, **{**ECHO, "models": {"fast": limited}})
        assert c.app.reloader is not None
        await c.app.reloader.reload()
        assert [(await c.ask())[0] for _ in range(2)] == [200, 429]


async def test_texts_that_are_kept_or_checked_go_through_the_layers_each_time(tmp_path: Path) -> None:
    kept = {"fast": ECHO["models"]["fast"] | {"keep_text": True}}
    async with client(tmp_path / "a", models=kept) as c:
        assert [(await c.ask())[1] for _ in range(4)] == ["MISS"] + ["HIT"] * 3 and c.at_once == 0
    checked = {"fast": ECHO["models"]["fast"] | {"policies": ["pii"]}}
    async with client(tmp_path / "b", models=checked, policies={"pii": {"kind": "pii"}}) as c:
        assert [(await c.ask())[1] for _ in range(4)] == ["MISS"] + ["HIT"] * 3 and c.at_once == 0


async def test_while_records_cannot_be_written_no_repetition_goes_without_one(tmp_path: Path) -> None:
    async with client(tmp_path) as c:
        await c.known()
        c.app.calls._most_waiting = 0
        assert (await c.ask(**{"x-bascule-timeout-s": "0.1"}))[0] == 503
        waiting = asyncio.create_task(c.ask())
        done, _ = await asyncio.wait({waiting}, timeout=0.1)
        assert not done and c.at_once == 1
        c.app.calls._most_waiting = 20_000
        c.app.calls._written.set()
        assert await waiting == (200, "HIT")
