"""One server process with documents and one browser, for every test of the console in a browser."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio

CHROMIUM = shutil.which("chromium")
ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HOSTILE = (
    '<img src="http://evil.example/x.png" onerror="alert(1)"><script>alert(2)</script> ![x](http://evil.example/y)'
)
PAPERS = {
    "returns.md": "# Returns and refunds\n\n## How long\n\nGoods may be returned within 30 days of delivery, unused and in "
    "their packaging.\n\n## Money back\n\nThe price is refunded within five working days after the parcel has arrived.\n",
    "warranty.md": f"# Warranty\n\nFaulty lamps are replaced at our cost for two years, says `{HOSTILE}` in the shop.\n",
    "shipping.csv": "country,price_eur,days\nGermany,4.90,2\nFrance,6.90,3\nSpain,8.90,4\n",
}


# A model that calls can be made to; answers are still quoted, for no chat model is named.
ECHO = """
[providers.main]
kind = "echo"
[models.fast]
targets = [{ provider = "main", model = "echo", input_usd_per_mtok = 1000.0 }]
[providers.gone]
kind = "openai"
base_url = "http://127.0.0.1:9/v1"
[models.away]
targets = [{ provider = "gone", model = "m" }]
"""


class World:
    def __init__(self, url: str, admin: str, shots: Path, folder: Path) -> None:
        self.url = url
        self.admin = admin
        self.shots = shots
        self.folder = folder
        self.hostile = HOSTILE
        self.scheme = ""

    async def sign_in(self, page: Any, key: str = "") -> None:
        await page.goto(self.url)
        await page.get_by_label("API key").fill(key or self.admin)
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#documents table")

    async def posts(self, page: Any, path: str, form: dict[str, str]) -> Any:
        """The reply to a form sent as the page's own, with whatever its requests carry."""
        carried = json.loads(await page.evaluate("document.body.getAttribute('hx-headers')") or "{}")
        return await page.request.post(self.url + path, form=form, headers={"origin": self.url, **carried})

    async def fits_a_phone(self, page: Any) -> None:
        """Nothing makes the page itself scroll sideways."""
        await page.set_viewport_size({"width": 380, "height": 800})
        assert await page.evaluate("document.documentElement.scrollWidth") <= 380, page.url

    async def posted(self, path: str, body: dict[str, Any] | None = None, method: str = "POST") -> dict[str, Any]:
        """What the API says to the administrator."""
        async with aiohttp.ClientSession(self.url, headers={"x-api-key": self.admin}) as http:
            async with http.request(method, path, json=body) as reply:
                assert reply.status < 300, await reply.text()
                found: dict[str, Any] = await reply.json()
                return found

    async def deleted(self, path: str) -> None:
        async with aiohttp.ClientSession(self.url, headers={"x-api-key": self.admin}) as http:
            async with http.delete(path) as reply:
                assert reply.status < 300, await reply.text()

    async def refused(self, path: str, body: dict[str, Any]) -> int:
        """The status of what the administrator is not given."""
        async with aiohttp.ClientSession(self.url, headers={"x-api-key": self.admin}) as http:
            async with http.post(path, json=body) as reply:
                return reply.status

    async def eventually(self, path: str, good: Callable[[Any], bool]) -> None:
        """Records are written behind the calls."""
        async with asyncio.timeout(30):
            while not good(await self.posted(path, method="GET")):
                await asyncio.sleep(0.1)

    async def status(self, path: str, key: str) -> int:
        async with aiohttp.ClientSession(self.url, headers={"x-api-key": key}) as http:
            async with http.get(path) as reply:
                return reply.status

    async def asked(self, question: str) -> dict[str, Any]:
        return await self.posted("/v1/answers", {"question": question})

    async def a_key(self, **given: Any) -> str:
        return str((await self.posted("/v1/keys", given))["key"])

    async def shoot(self, page: Any, name: str, **given: Any) -> None:
        await page.screenshot(path=self.shots / f"console-{name}-{self.scheme}.png", **given)


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Iterator[World]:
    """A server process of its own, filled; it must end in good order on SIGTERM."""
    folder = tmp_path_factory.mktemp("console")
    config = folder / "bascule.toml"
    config.write_text(
        '[rag]\nembedding_model = ""\n' + ECHO + "".join(a_source(folder, name) for name in ("light", "dark"))
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("BASCULE_")}
    run, where = [sys.executable, "-m", "bascule"], ["--data", str(folder / "data"), "--config", str(config)]
    made = subprocess.run([*run, "init", *where, "--json"], env=env, capture_output=True, timeout=60, check=True)
    admin = json.loads(made.stdout)["key"]
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen([*run, "serve", *where, "--port", "0"], env=env, stdout=subprocess.PIPE, stderr=log)
    try:
        assert server.stdout is not None
        line = server.stdout.readline().decode()
        assert "http://" in line, (folder / "log").read_text()[-2000:]
        url = "http://" + line.rpartition("http://")[2].strip()
        asyncio.run(fill(url, admin))
        shots = Path(os.environ.get("BASCULE_SCREENSHOTS") or folder)
        shots.mkdir(parents=True, exist_ok=True)
        yield World(url, admin, shots, folder)
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()
        if server.stdout is not None:
            server.stdout.close()


def a_source(folder: Path, name: str) -> str:
    """Six small files, and their place in the configuration: a source that is read only when somebody wants it."""
    files = folder / f"wiki-{name}"
    files.mkdir()
    for number in range(6):
        (files / f"page{number}.md").write_text(
            f"# Page {number}\n\nThe {name} team keeps key {number} on floor {number}.\n"
        )
    return (
        f'[sources.wiki-{name}]\nkind = "folder"\npaths = ["{files}"]\ncollection = "wiki-{name}"\nallow = ["public"]\n'
    )


async def fill(url: str, key: str) -> None:
    """Take the papers in, one of them with rights of its own, and one that cannot be read."""
    headers = {"x-api-key": key}
    documents = [{"external_id": name, "name": name, "text": text} for name, text in PAPERS.items()]
    documents.append(
        {"external_id": "salaries.md", "text": "# Salaries\n\nA clerk earns 3,000.", "allow": ["group:hr"]}
    )
    documents.append({"external_id": "broken.pdf", "content_base64": "JVBERi0xLjcK"})
    body = {"collection": "handbook", "allow": ["public"], "documents": documents}
    async with aiohttp.ClientSession(url, headers=headers) as http:
        async with http.post("/v1/documents", json=body) as reply:
            assert reply.status == 202, await reply.text()
            job = (await reply.json())["id"]
        async with asyncio.timeout(60):
            state = ""
            while state not in ("done", "failed"):
                await asyncio.sleep(0.1)
                async with http.get(f"/v1/jobs/{job}") as reply:
                    state = (await reply.json())["state"]


class Window:
    """A page, and what it complained of or asked of other hosts."""

    def __init__(self, page: Any, own: str) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append("a dialog opened"))
        page.on("request", lambda asked: None if urlsplit(asked.url).netloc == own else self.foreign.append(asked.url))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium here: the console is NOT tested in a browser")
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield opened
        await opened.close()


@pytest_asyncio.fixture(params=["light", "dark"], loop_scope="session")
async def window(browser, world, request) -> AsyncIterator[Window]:
    """A fresh profile; what the page complained of or asked of others fails the test."""
    context = await browser.new_context(color_scheme=request.param, viewport={"width": 1240, "height": 900})
    opened = Window(await context.new_page(), urlsplit(world.url).netloc)
    world.scheme = request.param
    yield opened
    await context.close()
    assert opened.complaints == []
    assert opened.foreign == []
