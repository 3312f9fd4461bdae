"""Probes, metrics and callers who leave, over real HTTP."""

from __future__ import annotations

import asyncio
import subprocess

import aiohttp
import pytest

from bascule.core.errors import StorageError
from bascule.server import health
from bascule.testing.server import ADMIN, DOCUMENT, READER, FakeApp, serving, until


def auth(key: str = ADMIN) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.fixture
async def fake():
    app = FakeApp()
    async with serving(app) as (url, _), aiohttp.ClientSession(url) as http:
        yield app, http


async def test_live_and_ready_need_no_key_and_ready_asks_the_catalogue():
    app = FakeApp()
    async with serving(app) as (url, application), aiohttp.ClientSession(url) as http:
        async with http.get("/livez") as reply:
            assert (reply.status, await reply.json()) == (200, {"status": "alive"})
        async with http.head("/livez") as reply:
            assert (reply.status, await reply.read()) == (200, b"")
        async with http.get("/readyz") as reply:
            assert (reply.status, await reply.json()) == (200, {"status": "ready"})
        application.drain()
        async with http.get("/readyz") as reply:
            assert (reply.status, await reply.json()) == (503, {"status": "draining"})
            assert reply.headers["connection"] == "close"
    app.catalogue.fails = StorageError("down")
    async with serving(app) as (url, _), aiohttp.ClientSession(url) as http:
        async with http.get("/readyz") as reply:
            assert (reply.status, await reply.json()) == (503, {"status": "unavailable"})


async def test_metrics_need_their_scope_and_count_by_route_pattern(fake):
    _, http = fake
    async with http.get(f"/v1/documents/{DOCUMENT}", headers=auth()) as reply:
        assert reply.status == 200
    async with http.get("/metrics", headers=auth(READER)) as reply:
        assert reply.status == 403
    async with http.get("/metrics", headers=auth()) as reply:
        text = await reply.text()
        assert reply.headers["content-type"].startswith("text/plain")
    assert 'bascule_http_requests_total{route="/v1/documents/{id}",status="200"} 1.0' in text
    assert 'bascule_degraded{what="lexical_only"} 1.0' in text
    assert DOCUMENT not in text


async def test_a_client_that_leaves_cancels_its_question(fake):
    app, http = fake
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def slow(principal, question, **given):
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    app.questions.answer = slow
    asking = asyncio.create_task(http.post("/v1/answers", json={"question": "a"}, headers=auth()))
    await asyncio.wait_for(started.wait(), 5)
    asking.cancel()
    await until(cancelled.is_set, 5)


async def test_that_parsers_could_not_be_started_is_told_without_a_path_and_looked_at_again(fake, monkeypatch):
    _, http = fake
    monkeypatch.setattr(health, "_known", {})
    answers = iter([OSError(2, "No such file", "/secret/python"), subprocess.TimeoutExpired("/secret/python", 5), {}])

    def enforced():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("bascule.rag.child_process.confinement", enforced)
    states = []
    for _ in range(4):  # the last without a process
        async with http.get("/v1/health", headers=auth()) as reply:
            told = await reply.text()
            assert reply.status == 200 and "/secret" not in told, told
            states += [row["state"] for row in (await reply.json())["findings"] if row["name"] == "parsers"]
    assert states == ["fail", "fail", "ok", "ok"]
