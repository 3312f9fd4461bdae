"""A real browser on a real server process: sign in, ask, open the citation. Nothing foreign is asked for, nothing complains."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

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

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: the console is NOT tested in a browser"),
]


class World:
    def __init__(self, url: str, admin: str, shots: Path) -> None:
        self.url = url
        self.admin = admin
        self.shots = shots
        self.scheme = ""

    async def shoot(self, page: Any, name: str, **given: Any) -> None:
        await page.screenshot(path=self.shots / f"console-{name}-{self.scheme}.png", **given)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[World]:
    """A server process of its own, filled; it must end in good order on SIGTERM."""
    folder = tmp_path_factory.mktemp("console")
    config = folder / "bascule.toml"
    config.write_text('[rag]\nembedding_model = ""\n')
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
        yield World(url, admin, shots)
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()
        if server.stdout is not None:
            server.stdout.close()


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


@pytest.fixture(params=["light", "dark"])
async def window(world, request) -> AsyncIterator[Window]:
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        context = await browser.new_context(color_scheme=request.param, viewport={"width": 1240, "height": 900})
        opened = Window(await context.new_page(), urlsplit(world.url).netloc)
        world.scheme = request.param
        yield opened
        await browser.close()
    assert opened.complaints == []
    assert opened.foreign == []


async def ask(page: Any, question: str, status: str) -> None:
    await page.get_by_label("Question").fill(question)
    await page.keyboard.press("Enter")
    await page.wait_for_selector(f"article.answer.{status} >> text={question}")


async def test_a_person_asks_reads_the_citation_and_opens_the_passage(world, window):
    page = window.page
    await page.goto(world.url)
    await world.shoot(page, "login")
    await sign_in(world, page)
    await ask(page, "Within how many days may goods be returned?", "answered")
    assert "30 days" in await page.inner_text("article.answer .prose")
    assert "30 days" in await page.inner_text(".sources")
    await world.shoot(page, "answer", full_page=True)

    await page.locator("button.cite").first.focus()
    await page.keyboard.press("Enter")
    await page.wait_for_selector("dialog[open] mark")
    assert "30 days" in await page.inner_text("dialog mark")
    assert "Returns and refunds" in await page.inner_text("#passage-title")
    await world.shoot(page, "passage")
    await page.keyboard.press("Escape")
    assert await page.locator("dialog[open]").count() == 0


async def test_documents_and_jobs_are_shown_with_their_rights_and_reasons(world, window):
    page = window.page
    await page.goto(world.url)
    await sign_in(world, page)
    documents = await page.inner_text("#documents")
    assert "Returns and refunds" in documents and "group:hr" in documents and "public" in documents
    assert "broken.pdf" in await page.inner_text("#jobs")

    await page.set_viewport_size({"width": 390, "height": 800})
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    await world.shoot(page, "phone", full_page=True)
    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_selector("#key")


async def test_what_a_document_smuggles_in_stays_text_and_a_refusal_says_why(world, window):
    page = window.page
    await page.goto(world.url)
    await sign_in(world, page)
    await ask(page, "Are faulty lamps replaced at our cost?", "answered")
    assert "two years" in await page.inner_text("article.answer .prose")
    await page.locator("button.source").first.click()
    await page.wait_for_selector("dialog[open] .here")
    assert HOSTILE in await page.inner_text("dialog .here")
    for inside in ("#answer", "dialog"):
        assert await page.locator(f"{inside} :is(img, script, a, iframe)").count() == 0
    await page.get_by_role("button", name="Close the passage").click()

    await ask(page, "Who was the third emperor of the Ming dynasty?", "refused")
    assert await page.locator("button.source").count() == 0
    await world.shoot(page, "refused")


async def sign_in(world: World, page: Any) -> None:
    await page.get_by_label("API key").fill(world.admin)
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#documents table")
    await page.wait_for_selector("#jobs .jobs")
