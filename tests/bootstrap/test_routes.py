"""Routes made while the server runs: tried before they are stored, followed by every server, never wider than the file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bascule.bootstrap import open_app
from bascule.core.errors import InvalidRequest, NotFound
from bascule.core.principals import system_principal
from bascule.settings import Exact, Settings
from bascule.testing.postgres import server
from bascule.testing.running import running, until
from bascule.testing.upstream import FakeUpstream, Fault, fake_upstream

OPERATOR = system_principal("default")


def file(folder: Path, up: FakeUpstream, **more: Any) -> Settings:
    tree: dict[str, Any] = {
        "providers": {
            "main": {"kind": "openai", "base_url": up.url},
            "e": {"kind": "echo"},
        },
        "models": {"fixed": {"targets": [{"provider": "main", "model": "fixed-1"}]}},
        "rag": {"enabled": False},
    }
    return Exact(data=folder / "data", **(tree | more))


def to(model: str, provider: str = "main", **more: Any) -> dict[str, Any]:
    return {"targets": [{"provider": provider, "model": model}], **more}


class Api:
    def __init__(self, http: aiohttp.ClientSession, key: str) -> None:
        self.http = http
        self.key = key

    async def __call__(self, method: str, path: str, body: Any = None, status: int = 200, key: str = "") -> Any:
        headers = {"authorization": f"Bearer {key or self.key}"}
        async with self.http.request(method, path, json=body, headers=headers) as reply:
            assert reply.status == status, (reply.status, await reply.text())
            return await reply.json() if reply.status != 204 else None

    async def ask(self, model: str, text: str = "hello") -> int:
        body = {"model": model, "messages": [{"role": "user", "content": text}]}
        headers = {"authorization": f"Bearer {self.key}"}
        async with self.http.post("/v1/chat/completions", json=body, headers=headers) as reply:
            await reply.read()
            return reply.status


class World:
    def __init__(self, up: FakeUpstream, settings: Settings, stack: AsyncExitStack) -> None:
        self.up = up
        self.settings = settings
        self.stack = stack

    async def serve(self, settings: Settings | None = None, admin: str = "") -> Api:
        """Another server on the same catalogue."""
        made = running(settings or self.settings, work=False, source=lambda: settings or self.settings)
        url, _, key = await self.stack.enter_async_context(made)
        return Api(await self.stack.enter_async_context(aiohttp.ClientSession(url)), key or admin)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with fake_upstream() as up, AsyncExitStack() as stack:
        yield World(up, file(tmp_path, up), stack)


async def test_a_route_is_made_called_changed_disabled_and_removed_without_a_restart(world: World) -> None:
    api = await world.serve()
    assert await api.ask("fast") == 404
    made = await api("POST", "/v1/routes", {"name": "fast", "settings": to("gpt-1", cache_ttl_s=0)}, status=201)
    assert (made["origin"], made["enabled"], made["settings"]["targets"][0]["model"]) == ("api", True, "gpt-1")
    assert await api.ask("fast") == 200
    assert world.up.calls[-1].body["model"] == "gpt-1"
    assert [m["id"] for m in (await api("GET", "/v1/models"))["data"]] == ["fixed", "fast"]
    await api("PUT", "/v1/routes/fast", {"settings": to("gpt-2", cache_ttl_s=0)})
    assert await api.ask("fast") == 200
    assert world.up.calls[-1].body["model"] == "gpt-2"
    shown = await api("PUT", "/v1/routes/fast", {"enabled": False})
    assert (shown["enabled"], shown["settings"]["targets"][0]["model"]) == (False, "gpt-2")
    assert await api.ask("fast") == 404
    await api("PUT", "/v1/routes/fast", {"enabled": True})
    assert await api.ask("fast") == 200
    await api("DELETE", "/v1/routes/fast", status=204)
    assert await api.ask("fast") == 404
    await api("GET", "/v1/routes/fast", status=404)
    listed = await api("GET", "/v1/routes")
    assert [(r["name"], r["origin"]) for r in listed["data"]] == [("fixed", "file")]
    assert listed["providers"] == [{"name": "e", "kind": "echo"}, {"name": "main", "kind": "openai"}]


async def test_a_stream_under_way_ends_by_the_old_route(world: World) -> None:
    api = await world.serve()
    await api("POST", "/v1/routes", {"name": "fast", "settings": to("gpt-1")}, status=201)
    gate = asyncio.Event()
    world.up.faults.append(Fault(gate=gate))
    body = {"model": "fast", "messages": [{"role": "user", "content": "s"}], "stream": True}
    streaming = await api.http.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {api.key}"})
    assert b"data:" in await streaming.content.readany()
    await api("DELETE", "/v1/routes/fast", status=204)
    gate.set()
    assert (await streaming.content.read()).rstrip().endswith(b"[DONE]")


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
async def test_other_servers_follow_and_a_restart_keeps_it(tmp_path: Path, engine: str) -> None:
    async with fake_upstream() as up, AsyncExitStack() as stack:
        url = server().new_database() if engine == "postgres" else ""
        settings = file(tmp_path, up, catalogue={"url": url})
        world = World(up, settings, stack)
        first = await world.serve()
        second = await world.serve(admin=first.key)
        await first("POST", "/v1/routes", {"name": "fast", "settings": to("gpt-1")}, status=201)

        async def known() -> bool:
            return await second.ask("fast") == 200

        await until(known, 5)
        await second("PUT", "/v1/routes/fast", {"enabled": False})

        async def gone() -> bool:
            return await first.ask("fast", "again") == 404

        await until(gone, 5)
        await first("PUT", "/v1/routes/fast", {"enabled": True})
        third = await world.serve(admin=first.key)
        assert await third.ask("fast", "once more") == 200


async def test_the_file_is_read_again_with_the_routes_kept_and_its_own_names_win(world: World, tmp_path: Path) -> None:
    now = [world.settings]
    async with running(world.settings, work=False, source=lambda: now[0]) as (url, app, admin):
        async with aiohttp.ClientSession(url) as http:
            api = Api(http, admin)
            for name in ("fast", "later"):
                await api("POST", "/v1/routes", {"name": name, "settings": to("gpt-1")}, status=201)
            models = {"later": {"targets": [{"provider": "main", "model": "from-the-file"}]}}
            now[0] = file(tmp_path, world.up, models=models)
            assert (await api("POST", "/v1/reload"))["changed"] == ["models"]
            assert sorted(app.gateway.models()) == ["fast", "later"] and await api.ask("later") == 200
            assert world.up.calls[-1].body["model"] == "from-the-file"
            listed = (await api("GET", "/v1/routes"))["data"]
            shadowed = [r for r in listed if (r["name"], r["origin"]) == ("later", "api")]
            assert "file" in shadowed[0]["problem"]
            now[0] = file(tmp_path, world.up, providers={"e": {"kind": "echo"}}, models={})
            await api("POST", "/v1/reload")
            assert app.gateway.models() == [], "a route whose provider has gone is not used, and stops nothing"
    async with open_app(now[0], work=False) as app:
        assert app.gateway.models() == []
        assert app.routes is not None
        problems = {route.name: route.problem for route in await app.routes.list(OPERATOR)}
        assert "'main'" in problems["fast"]
        assert (await app.routes.replace(OPERATOR, "fast", None, False)).enabled is False, (
            "what is broken can be disabled"
        )
        with pytest.raises(InvalidRequest):
            await app.routes.replace(OPERATOR, "fast", None, True)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"name": "x", "settings": {}}, "settings.targets"),
        ({"name": "x", "settings": {"targets": []}}, "settings.targets"),
        ({"name": "x", "settings": to("m", "nosuch")}, "settings.targets[0].provider"),
        ({"name": "x", "settings": to("m", base_url="http://169.254.169.254")}, "settings.base_url"),
        (
            {"name": "x", "settings": {"targets": [{"provider": "main", "model": "m", "headers": {}}]}},
            "settings.targets[0].headers",
        ),
        ({"name": "x", "settings": to("m", keep_text=True)}, "settings.keep_text"),
        ({"name": "x", "settings": to("m", remote_tools=True)}, "settings.remote_tools"),
        ({"name": "x", "settings": to("m", timeout_s=-1)}, "settings.timeout_s"),
        ({"name": "x", "settings": to("m", policies=[])}, "settings.policies"),
        ({"name": "x", "settings": to("m", policies=["nosuch", "guard"])}, "settings.policies"),
        ({"name": "x", "settings": to("m", semantic_cache={"embedding_model": "nosuch"})}, "settings"),
        ({"name": "a/b", "settings": to("m")}, "name"),
        ({"name": "", "settings": to("m")}, "name"),
        ({"name": "x"}, "settings"),
        ({"name": "x", "settings": to("m"), "tenant": "y"}, "tenant"),
    ],
)
async def test_what_the_file_would_refuse_or_keeps_for_itself_is_refused_and_nothing_changes(
    tmp_path: Path, body: dict[str, Any], param: str
) -> None:
    async with fake_upstream() as up, AsyncExitStack() as stack:
        guarded = {"policies": {"guard": {"kind": "secrets"}}, "gateway": {"policies": ["guard"]}}
        world = World(up, file(tmp_path, up, **guarded), stack)
        api = await world.serve()
        error = (await api("POST", "/v1/routes", body, status=400))["error"]
        assert error["param"] == param, error
        assert [r["name"] for r in (await api("GET", "/v1/routes"))["data"]] == ["fixed"]
        assert await api.ask("fixed") == 200


async def test_names_of_the_file_and_names_taken_are_conflicts(world: World) -> None:
    api = await world.serve()
    for name in ("fixed", "minilm"):
        await api("POST", "/v1/routes", {"name": name, "settings": to("m")}, status=409)
    await api("PUT", "/v1/routes/fixed", {"enabled": False}, status=409)
    await api("DELETE", "/v1/routes/fixed", status=409)
    await api("POST", "/v1/routes", {"name": "fast", "settings": to("m")}, status=201)
    await api("POST", "/v1/routes", {"name": "fast", "settings": to("n")}, status=409)
    assert await api.ask("fixed") == 200
    both = [
        api("POST", "/v1/routes", {"name": "twice", "settings": to(f"m{n}")}, status=s) for n, s in ((1, 201), (2, 409))
    ]
    done = await asyncio.gather(*both, return_exceptions=True)
    assert sum(isinstance(each, AssertionError) for each in done) in (0, 2), "one of the two, whichever came first"


async def test_a_route_that_another_stands_on_is_not_taken_away(world: World) -> None:
    api = await world.serve()
    await api("POST", "/v1/routes", {"name": "vectors", "settings": to("v", "e")}, status=201)
    near = to("m", semantic_cache={"embedding_model": "vectors"})
    await api("POST", "/v1/routes", {"name": "chat", "settings": near}, status=201)
    for method, body in (("PUT", {"enabled": False}), ("DELETE", None)):
        error = (await api(method, "/v1/routes/vectors", body, status=409))["error"]
        assert "'chat'" in error["message"]
    await api("DELETE", "/v1/routes/chat", status=204)
    await api("DELETE", "/v1/routes/vectors", status=204)


async def test_only_the_operators_administrators_may_and_everything_is_in_the_audit_log(world: World) -> None:
    async with running(world.settings, work=False) as (url, app, admin):
        async with aiohttp.ClientSession(url) as http:
            api = Api(http, admin)
            other = await app.keys.create(
                OPERATOR, name="o", tenant="other", subject="", groups=(), roles=(), scopes=["admin", "chat"]
            )
            await app.authenticator.refresh()
            for method, path, body in (
                ("GET", "/v1/routes", None),
                ("POST", "/v1/routes", {"name": "x", "settings": to("m")}),
                ("GET", "/v1/routes/fixed", None),
                ("PUT", "/v1/routes/fixed", {}),
                ("DELETE", "/v1/routes/fixed", None),
            ):
                error = (await api(method, path, body, status=403, key=other[1]))["error"]
                assert "'default'" in error["message"]
            await api("POST", "/v1/routes", {"name": "fast", "settings": to("m")}, status=201)
            await api("PUT", "/v1/routes/fast", {"enabled": False})
            await api("DELETE", "/v1/routes/fast", status=204)
            rows = [row for row in await app.catalogue.audit_rows(OPERATOR, 20) if row.act.startswith("route.")]
            assert [(row.act, row.target) for row in reversed(rows)] == [
                ("route.create", "fast"),
                ("route.change", "fast"),
                ("route.remove", "fast"),
            ]
            with pytest.raises(NotFound):
                assert app.routes is not None
                await app.routes.remove(OPERATOR, "fast")
