"""A changed configuration is taken without a restart and without dropping a stream."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bascule.core.errors import ConfigError
from bascule.settings import Exact, Settings
from bascule.testing.running import running
from bascule.testing.upstream import FakeUpstream, Fault, fake_upstream


def tree(folder: Path, up: FakeUpstream, models: list[str], **gateway: Any) -> Settings:
    named = {name: {"targets": [{"provider": "main", "model": f"{name}-1"}]} for name in models}
    provider = {"kind": "openai", "base_url": up.url}
    return Exact(
        data=folder / "data", providers={"main": provider}, models=named, rag={"enabled": False}, gateway=gateway
    )


def ask(model: str, text: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


async def test_new_models_are_served_and_a_stream_under_way_ends_well(tmp_path: Path) -> None:
    async with fake_upstream() as up:
        now = [tree(tmp_path, up, ["old"])]
        async with running(now[0], work=False, source=lambda: now[0]) as (url, app, admin):
            async with aiohttp.ClientSession(url, headers={"authorization": f"Bearer {admin}"}) as http:
                gate = asyncio.Event()
                up.faults.append(Fault(gate=gate))
                streaming = await http.post("/v1/chat/completions", json=ask("old", "s", stream=True))
                first = await streaming.content.readany()
                assert b"data:" in first
                now[0] = tree(tmp_path, up, ["new"], cache_ttl_s=60.0)
                async with http.post("/v1/reload") as reply:
                    assert (reply.status, await reply.json()) == (
                        200,
                        {"changed": ["models", "gateway"], "needs_restart": []},
                    )
                async with http.post("/v1/chat/completions", json=ask("new", "q")) as reply:
                    assert reply.status == 200
                async with http.post("/v1/chat/completions", json=ask("old", "q")) as reply:
                    assert reply.status == 404
                gate.set()
                rest = await streaming.content.read()
                assert rest.rstrip().endswith(b"[DONE]")
                assert app.gateway.models() == ["new"]


async def test_a_configuration_that_is_not_valid_changes_nothing(tmp_path: Path) -> None:
    async with fake_upstream() as up:
        good = tree(tmp_path, up, ["m"])

        def broken() -> Settings:
            raise ConfigError("models.m.targets: a secret path /etc/x is wrong")

        async with running(good, work=False, source=broken) as (url, app, admin):
            async with aiohttp.ClientSession(url, headers={"authorization": f"Bearer {admin}"}) as http:
                async with http.post("/v1/reload") as reply:
                    assert reply.status == 400 and "/etc/x" not in await reply.text()
                async with http.post("/v1/chat/completions", json=ask("m", "q")) as reply:
                    assert reply.status == 200
                assert app.settings == good


async def test_a_change_that_fails_half_way_leaves_the_old_providers_at_work(tmp_path: Path) -> None:
    async with fake_upstream() as up:
        now = [tree(tmp_path, up, ["m"])]
        async with running(now[0], work=False, source=lambda: now[0]) as (url, app, admin):
            assert app.reloader is not None
            unknown = Exact(policies={"x": {"kind": "nosuch"}}).policies
            now[0] = tree(tmp_path, up, ["m"], max_reply_bytes=1000).model_copy(update={"policies": unknown})
            with pytest.raises(ConfigError):
                await app.reloader.reload()
            async with aiohttp.ClientSession(url, headers={"authorization": f"Bearer {admin}"}) as http:
                up.always = Fault(content="x" * 5000)  # more than the refused configuration would take
                async with http.post("/v1/chat/completions", json=ask("m", "q")) as reply:
                    assert reply.status == 200
            now[0] = tree(tmp_path, up, ["m", "n"])
            assert (await app.reloader.reload()).changed == ["models"]


async def test_what_is_only_read_at_the_start_is_named(tmp_path: Path) -> None:
    async with fake_upstream() as up:
        now = [tree(tmp_path, up, ["m"])]
        async with running(now[0], work=False, source=lambda: now[0]) as (_, app, _admin):
            assert app.reloader is not None
            now[0] = now[0].model_copy(update={"server": now[0].server.model_copy(update={"port": 9})})
            found = await app.reloader.reload()
            assert (found.changed, found.needs_restart) == ([], ["server"])


@pytest.mark.parametrize("overlap_s", [0.0, 60.0])
async def test_a_key_rotates_itself_and_the_old_one_ends_when_it_was_told_to(tmp_path: Path, overlap_s: float) -> None:
    async with fake_upstream() as up:
        async with running(tree(tmp_path, up, ["m"]), work=False) as (url, _, admin):
            async with aiohttp.ClientSession(url) as http:
                as_admin = {"authorization": f"Bearer {admin}"}
                limits = {"requests_per_min": 7, "concurrent": 3}
                made = await (await http.post("/v1/keys", json={"name": "k", **limits}, headers=as_admin)).json()
                old = {"authorization": f"Bearer {made['key']}"}
                path = f"/v1/keys/{made['id']}/rotate"
                async with http.post(path, json={"overlap_s": overlap_s}, headers=old) as reply:
                    fresh = await reply.json()
                    assert reply.status == 201 and fresh["scopes"] == made["scopes"]
                    assert {k: fresh[k] for k in limits} == limits
                new = {"authorization": f"Bearer {fresh['key']}"}
                assert (await http.get("/v1/models", headers=new)).status == 200
                assert (await http.get("/v1/models", headers=old)).status == (200 if overlap_s else 401)
                other = await http.post(f"/v1/keys/{made['id']}/rotate", json={}, headers=new)
                assert other.status in (403, 404)
                ended = f"/v1/keys/{fresh['id']}/expire"
                assert (await http.post(ended, json={"expires_at": "2020-01-01"}, headers=as_admin)).status == 200
                assert (await http.get("/v1/models", headers=new)).status == 401
                assert (await http.post(ended, json={"expires_at": None}, headers=as_admin)).status == 200
                assert (await http.get("/v1/models", headers=new)).status == 200
