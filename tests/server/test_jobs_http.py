"""Jobs over real HTTP, on a real server that works on them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from bascule.core.documents import Job
from bascule.testing.running import running, settings_for, until
from bascule.testing.server import ADMIN, FakeApp, a_job, serving


class Api:
    def __init__(self, session: aiohttp.ClientSession, admin: str) -> None:
        self.session = session
        self.admin = admin

    async def __call__(self, method: str, path: str, body: Any = None, key: str = "", status: int = 200) -> Any:
        headers = {"authorization": f"Bearer {key or self.admin}"}
        async with self.session.request(method, path, json=body, headers=headers) as reply:
            assert reply.status == status, await reply.text()
            return await reply.json() if status != 204 else None

    async def upload(self, collection: str, **texts: str) -> str:
        documents = [{"external_id": name, "name": f"{name}.txt", "text": text} for name, text in texts.items()]
        body = {"collection": collection, "documents": documents, "allow": ["public"]}
        found = await self("POST", "/v1/documents", body, status=202)
        return str(found["id"])

    async def state(self, job_id: str) -> str:
        return str((await self("GET", f"/v1/jobs/{job_id}"))["state"])


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running(settings_for(tmp_path / "data")) as (url, _, admin), aiohttp.ClientSession(url) as session:
        yield Api(session, admin)


async def events(api: Api, job_id: str, key: str = "") -> list[tuple[str, Any]]:
    """Every event of a job until the server ends the stream."""
    headers = {"authorization": f"Bearer {key or api.admin}"}
    async with api.session.get(f"/v1/jobs/{job_id}/events", headers=headers) as reply:
        assert reply.status == 200 and reply.content_type == "text/event-stream"
        blocks = (await reply.text()).split("\n\n")
    found = [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks if block.strip()]
    return [(block["event"], json.loads(block["data"])) for block in found]


async def test_a_paused_collection_waits_and_its_progress_is_streamed_once_it_goes_on(api: Api) -> None:
    first = await api.upload("handbook", a="Steel frames are returned within thirty days.")
    await until(lambda: _is(api, first, "done"), 30)
    paused = await api("PUT", "/v1/pauses", {"kind": "collection", "name": "handbook"})
    assert [(pause["kind"], pause["name"]) for pause in paused["data"]] == [("collection", "handbook")]
    held = await api.upload("handbook", b="Wooden frames are returned within ten days.", c="No frames on Sundays.")
    other = await api.upload("wiki", d="The wiki goes on.")
    await until(lambda: _is(api, other, "done"), 30)
    assert await api.state(held) == "paused"
    assert [job["id"] for job in (await api("GET", "/v1/jobs?state=paused"))["data"]] == [held]
    page = await api("GET", "/v1/jobs?limit=1&collection=handbook&source=upload")
    assert [job["id"] for job in page["data"]] == [held] and page["next"] == held
    rest = await api("GET", f"/v1/jobs?collection=handbook&after={page['next']}")
    assert [job["id"] for job in rest["data"]] == [first] and rest["next"] is None

    headers = {"authorization": f"Bearer {api.admin}"}
    async with api.session.get(f"/v1/jobs/{held}/events", headers=headers) as reply:
        assert (await reply.content.readline()) == b"event: progress\n"
        assert json.loads((await reply.content.readline())[6:])["state"] == "paused"
        assert (await api("DELETE", "/v1/pauses?kind=collection&name=handbook"))["data"] == []
        told = (await reply.text()).split("\n\n")
    last = [block for block in told if block.strip()][-1].lstrip()
    assert last.startswith("event: end\n")
    assert json.loads(last.partition("data: ")[2])["counts"] == {"indexed": 2}
    assert await events(api, held) == [("end", json.loads(last.partition("data: ")[2]))]


async def _is(api: Api, job_id: str, state: str) -> bool:
    return await api.state(job_id) == state


async def test_a_cancelled_job_can_be_tried_again(api: Api) -> None:
    await api("PUT", "/v1/pauses", {"kind": "source", "name": "upload"})
    job = await api.upload("handbook", a="Steel frames are returned within thirty days.")
    assert (await api("POST", f"/v1/jobs/{job}/cancel"))["state"] == "cancelled"
    shown = await api("GET", f"/v1/jobs/{job}")
    assert (shown["counts"], shown["source"]) == ({"cancelled": 1}, "upload")
    await api("POST", f"/v1/jobs/{job}/pause", status=409)
    await api("DELETE", "/v1/pauses?kind=source&name=upload")
    await api("POST", f"/v1/jobs/{job}/retry")
    await until(lambda: _is(api, job, "done"), 30)
    found = await api("POST", "/v1/search", {"query": "steel frames"})
    assert len(found["hits"]) == 1


async def test_a_document_given_up_is_in_the_quarantine_with_its_reason_and_can_be_tried_again(api: Api) -> None:
    job = await api.upload("handbook", good="Steel frames.", empty=" ")
    await until(lambda: _is(api, job, "done"), 30)
    (lost,) = (await api("GET", "/v1/quarantine"))["data"]
    assert (lost["name"], lost["job_id"], lost["collection"]) == ("empty.txt", job, "handbook") and lost["reason"]
    assert (await api("GET", "/v1/quarantine?collection=wiki"))["data"] == []
    assert await api("POST", "/v1/quarantine/retry", {"collection": "handbook"}) == {"documents": 1}
    await until(lambda: _is(api, job, "done"), 30)
    (again,) = (await api("GET", "/v1/quarantine"))["data"]
    assert again["document_id"] == lost["document_id"]


async def test_a_job_is_its_bringers_alone_and_pausing_all_needs_an_administrator(api: Api) -> None:
    job = await api.upload("handbook", a="Steel frames.")
    made = await api("POST", "/v1/keys", {"name": "b", "subject": "ben", "scopes": ["ingest"]}, status=201)
    for path in ("", "/events"):
        await api("GET", f"/v1/jobs/{job}{path}", key=made["key"], status=404)
    for act in ("cancel", "pause", "resume", "retry"):
        await api("POST", f"/v1/jobs/{job}/{act}", key=made["key"], status=404)
    await api("PUT", "/v1/pauses", {"kind": "source", "name": "upload"}, key=made["key"], status=403)
    for wrong in ({"kind": "tenant", "name": "x"}, {"kind": "source", "name": ""}, {"kind": "source"}):
        await api("PUT", "/v1/pauses", wrong, status=400)
    await api("PUT", "/v1/pauses", {"kind": "collection", "name": "nowhere"}, status=404)
    await api("GET", "/v1/jobs?state=odd", status=400)


async def test_a_stream_of_progress_ends_when_the_server_drains() -> None:
    app = FakeApp()
    running_job = msgspec.structs.replace(a_job(), state="running", finished_at=None)

    async def progress(principal: object, limit: int, job_id: str = "") -> list[Job]:
        return [running_job]

    app.catalogue.job_progress = progress
    async with serving(app) as (url, application), aiohttp.ClientSession(url) as session:
        async with session.get("/v1/jobs/j1/events", headers={"authorization": f"Bearer {ADMIN}"}) as reply:
            assert (await reply.content.readline()) == b"event: progress\n"
            application.drain()
            async with asyncio.timeout(10):
                rest = await reply.text()
    assert rest.startswith("data: ") and rest.endswith("\n\n")
