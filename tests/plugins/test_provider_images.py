"""Images by URL for vendors that take them only inside the request: over real HTTP, through the guarded fetcher."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bascule import AsyncGateway
from bascule.core.chat import ANTHROPIC_MESSAGES, ChatRequest
from bascule.core.errors import ConfigError, InvalidRequest, TooLarge
from bascule.core.fetching import Fetcher
from bascule.core.http import HttpClient
from bascule.plugins.fetchers.guarded import GuardedFetcher, Settings
from bascule.plugins.http_clients import httptools
from bascule.plugins.providers import bedrock, gemini, vertex
from bascule.testing.bedrock import BedrockVendor
from bascule.testing.gateway import Bench, bench, call, request, resources
from bascule.testing.gemini import GeminiVendor
from bascule.testing.site import Page, Site, running_site
from bascule.testing.vendors import Vendor, serving

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
JPEG = b"\xff\xd8\xff\xe0" + bytes(40)
SAMPLES = Path(__file__).parents[3] / "shared" / "data" / "security" / "ssrf_urls.jsonl"
KINDS: dict[str, tuple[Any, type[Vendor], dict[str, str]]] = {
    "gemini": (gemini, GeminiVendor, {}),
    "vertex": (vertex, GeminiVendor, {}),
    "bedrock": (bedrock, BedrockVendor, {"region": "eu-central-1"}),
}


@dataclass
class World:
    kind: str
    vendor: Vendor
    site: Site
    http: HttpClient

    def provider(self, fetcher: Fetcher | None = None, **settings: Any) -> Any:
        module, _, own = KINDS[self.kind]
        given: dict[str, Any] = {
            "base_url": self.vendor.url,
            "api_key": "env:KEY",
            "image_urls": True,
            **own,
            **settings,
        }
        return module.connect(module.Settings(**given), resources(self.http, fetcher or self.site.fetcher()))

    def sent(self) -> list[tuple[str, bytes]]:
        """The images of the last request that reached the vendor."""
        found: list[tuple[str, bytes]] = []
        _collect(json.loads(self.vendor.calls[-1].raw), found)
        return found


def _collect(value: Any, found: list[tuple[str, bytes]]) -> None:
    if isinstance(value, dict) and "inlineData" in value:
        inline = value["inlineData"]
        found.append((inline["mimeType"], base64.b64decode(inline["data"])))
    elif isinstance(value, dict) and "image" in value:
        found.append(("image/" + value["image"]["format"], base64.b64decode(value["image"]["source"]["bytes"])))
    else:
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            _collect(inner, found)


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    vendor = KINDS[request.param][1]()
    pages: dict[str, str | Page] = {
        "/a.png": Page(body=PNG, media_type="image/png"),
        "/b": Page(body=JPEG, media_type="binary/octet-stream"),
    }
    async with serving(vendor), running_site(pages) as site, httptools.connect(httptools.Settings()) as http:
        vendor.answers("Seen.")
        yield World(request.param, vendor, site, http)


def seeing(*urls: str, stream: bool = False) -> ChatRequest:
    parts: list[Any] = [{"type": "text", "text": "What is this?"}]
    parts += [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return request(stream=stream, messages=[{"role": "user", "content": parts}])


async def test_images_by_url_reach_the_vendor_inside_the_request_each_fetched_once(world: World) -> None:
    a, b = world.site.url + "/a.png", world.site.url + "/b"
    async with world.provider() as provider:
        asked = seeing(a, b, a)
        before = asked.body
        await provider.chat(asked, call())
        assert world.sent() == [("image/png", PNG), ("image/jpeg", JPEG), ("image/png", PNG)]
        assert world.site.times() == {"/a.png": 1, "/b": 1} and asked.body == before
        world.vendor.streams("Seen.")
        await (await provider.stream(seeing(b, stream=True), call())).aclose()
        assert world.sent() == [("image/jpeg", JPEG)]


async def test_an_anthropic_callers_image_is_got_too_and_the_answer_is_kept_by_the_callers_body(world: World) -> None:
    content = [{"type": "image", "source": {"type": "url", "url": world.site.url + "/a.png"}}]
    view: dict[str, Any] = {"model": "fast", "max_tokens": 9, "messages": [{"role": "user", "content": content}]}
    asked = ChatRequest(wire=ANTHROPIC_MESSAGES, body=json.dumps(view).encode(), view=view, model="fast")
    async with world.provider() as provider:
        made: Bench = bench(provider)
        for _ in range(2):
            assert (await made.gateway.chat(asked, call())).text == "Seen."
        await made.gateway.aclose()
    assert world.sent() == [("image/png", PNG)]
    assert [record.cache for record in made.records] == ["MISS", "HIT"] and world.site.times()["/a.png"] == 1


async def refusal(world: World, urls: Sequence[str], *, fetcher: Fetcher | None = None, **settings: Any) -> str:
    async with world.provider(fetcher, **settings) as provider:
        with pytest.raises((InvalidRequest, TooLarge)) as caught:
            await provider.chat(seeing(*urls), call(timeout_s=5))
    assert world.vendor.calls == [] and caught.value.param == "messages"
    return caught.value.message


async def test_it_is_off_unless_the_operator_switches_it_on(world: World) -> None:
    assert "image_urls" in await refusal(world, [world.site.url + "/a.png"], image_urls=False)
    assert world.site.asked == []
    with pytest.raises(ConfigError):
        module, _, own = KINDS[world.kind]
        given: dict[str, Any] = {"api_key": "env:KEY", "image_urls": True, "base_url": world.vendor.url, **own}
        async with module.connect(module.Settings(**given), resources(world.http)):
            pass


async def test_what_is_no_image_too_large_too_many_or_not_there_is_refused_in_words(world: World) -> None:
    at = world.site.url
    world.site.pages |= {
        "/page": "<h1>no</h1>",
        "/lie.png": Page(body=b"<svg onload=x>", media_type="image/png"),
        "/gone.png": Page(status=404, media_type="image/png"),
        "/endless.png": Page(body=PNG * 1000, media_type="image/png", endless=True),
    }
    said = {
        "/page": "text/html",
        "/lie.png": "no image",
        "/gone.png": "404",
        "/endless.png": "at most 100000 bytes",
    }
    for path, words in said.items():
        assert words in await refusal(world, [at + path], max_image_bytes=100_000)
    world.site.asked.clear()
    assert "At most 2" in await refusal(world, [f"{at}/a.png?{n}" for n in range(3)], max_images=2)
    assert world.site.asked == []


async def test_a_slow_site_costs_no_more_than_its_time_and_counts_against_no_deployment(world: World) -> None:
    world.site.pages["/slow.png"] = Page(body=PNG, media_type="image/png", gate=asyncio.Event())
    urls = [world.site.url + "/slow.png", world.site.url + "/a.png"]
    assert "in time" in await refusal(world, urls, image_timeout_s=0.2)


async def test_a_private_address_is_reached_neither_at_once_nor_by_a_redirect(world: World) -> None:
    port = world.site.authority.rpartition(":")[2]
    closed = GuardedFetcher(Settings(ports=(int(port),)))
    assert "not public" in await refusal(world, [world.site.url + "/a.png"], fetcher=closed)
    assert world.site.asked == []
    world.site.pages["/hop.png"] = Page(status=302, headers={"location": "http://169.254.169.254/latest"})
    assert "cannot be had" in await refusal(world, [world.site.url + "/hop.png"])


@pytest.mark.skipif(not SAMPLES.exists(), reason="the folder shared/data is not beside the checkout")
async def test_the_sample_of_forbidden_urls_is_refused_with_no_connection_inside() -> None:
    rows = [json.loads(line) for line in SAMPLES.read_text().splitlines()]
    blocked = [row for row in rows if row["expect"] == "block"]
    dialled: list[str] = []

    async def dial(address: str, port: int, context: Any, name: str) -> Any:
        dialled.append(address)
        raise OSError

    vendor = GeminiVendor()
    async with serving(vendor), httptools.connect(httptools.Settings()) as http:
        for row in blocked:
            answers = row.get("resolve") or [["127.0.0.1"]]

            async def resolve(host: str, port: int, answers: Any = answers) -> Sequence[str]:
                found: Sequence[str] = answers[0]
                return found

            fetcher = GuardedFetcher(Settings(), resolve=resolve, dial=dial)
            settings = gemini.Settings(base_url=vendor.url, api_key="env:K", image_urls=True)
            async with gemini.connect(settings, resources(http, fetcher)) as provider:
                with pytest.raises(InvalidRequest):
                    await provider.chat(seeing(row["url"]), call())
    # Names that lead to a public address at first are played out, with their redirects, in test_fetcher_addresses.
    assert len(blocked) > 50 and set(dialled) <= {"93.184.215.14"} and vendor.calls == []


async def test_the_configurations_fetcher_is_the_one_that_gets_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "k")
    vendor = GeminiVendor()
    async with serving(vendor), running_site({"/a.png": Page(body=PNG, media_type="image/png")}) as site:
        vendor.answers("Seen.")
        (tmp_path / "bascule.toml").write_text(
            f'[fetcher]\nallow = ["{site.authority}"]\n'
            f'[providers.g]\nkind = "gemini"\nbase_url = "{vendor.url}"\napi_key = "env:GEMINI_API_KEY"\nimage_urls = true\n'
            '[models.fast]\ntargets = [{ provider = "g", model = "m" }]\n'
        )
        async with AsyncGateway(config=tmp_path / "bascule.toml") as gateway:
            asked = seeing(site.url + "/a.png").view["messages"]
            assert await gateway.ask(asked, model="fast") == "Seen."
        assert site.times() == {"/a.png": 1}
