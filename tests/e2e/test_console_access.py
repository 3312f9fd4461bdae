"""Every page of the console: named controls, one heading of the first level, contrast, a keyboard's way in, a phone's width."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

# What is wrong with the page, as sentences. Contrast by WCAG 2.2, 1.4.3: 4.5, or 3 for large text.
CHECK = """() => {
  const wrong = [], name = (e) => e.outerHTML.slice(0, 90);
  if (!document.title || document.documentElement.lang !== 'en') wrong.push('no title or language');
  if (document.querySelectorAll('h1').length !== 1) wrong.push('not one h1');
  if (document.querySelectorAll('main').length !== 1) wrong.push('not one main');
  for (const e of document.querySelectorAll('input:not([type=hidden]), select, textarea, progress'))
    if (!(e.labels && e.labels.length) && !e.getAttribute('aria-label') && !e.closest('[aria-hidden=true]'))
      wrong.push('no name: ' + name(e));
  for (const e of document.querySelectorAll('button, a, summary'))
    if (!e.textContent.trim() && !e.getAttribute('aria-label') && !e.closest('svg')) wrong.push('says nothing: ' + name(e));
  for (const e of document.querySelectorAll('th:not([scope])')) wrong.push('no scope: ' + name(e));
  for (const e of document.querySelectorAll('[role=region], nav, section'))
    if (!e.getAttribute('aria-label') && !e.getAttribute('aria-labelledby')) wrong.push('unnamed part: ' + name(e));
  const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
  if (new Set(ids).size !== ids.length) wrong.push('an id twice');
  const rgb = (text) => {
    const n = text.match(/[\\d.]+/g).map(Number);
    return { c: n.slice(0, 3), a: n[3] === undefined ? 1 : n[3] };
  };
  const light = (c) => c.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const over = (e) => {
    for (; e; e = e.parentElement) {
      const back = rgb(getComputedStyle(e).backgroundColor);
      if (back.a === 1) return back.c;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement, style = getComputedStyle(e), box = e.getBoundingClientRect();
    if (!walker.currentNode.data.trim() || box.width < 2 || style.visibility !== 'visible') continue;
    if (e.closest('title, option, script, :disabled, .visually-hidden, .skip')) continue;
    const ground = over(e), ink = rgb(e.closest('svg') ? style.fill : style.color), shown = ink.a * Number(style.opacity);
    const mixed = ink.c.map((v, i) => v * shown + ground[i] * (1 - shown));
    const [a, b] = [light(mixed), light(ground)].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.6 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) wrong.push(`contrast ${ratio.toFixed(2)}: ` + name(e));
  }
  return [...new Set(wrong)];
}"""


async def in_both_lights(page: Any) -> list[str]:
    """What is wrong with the page by day and by night."""
    found = []
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        found += [f"{scheme}: {what}" for what in await page.evaluate(CHECK)]
    return found


@pytest.mark.parametrize("window", ["light"], indirect=True)
async def test_every_page_can_be_used_by_keyboard_reader_and_phone(world, window):
    page = window.page
    await page.goto(world.url)
    assert await in_both_lights(page) == []
    answer = await world.asked("Within how many days may goods be returned?")
    await world.posted("/v1/chat/completions", {"model": "fast", "messages": [{"role": "user", "content": "hello"}]})
    await world.posted("/v1/evaluations", {"kind": "golden", "name": "shop", "figures": {"answer_score": 0.5}})
    await world.posted(f"/v1/answers/{answer['id']}/feedback", {"rating": 1}, method="PUT")
    job = (await world.posted("/v1/jobs", method="GET"))["data"][0]["id"]
    await world.eventually("/v1/calls", lambda found: found["data"])
    await world.sign_in(page)
    paths = ["/", "answers", f"answers/{answer['id']}?expect=salaries.md&truth=on", "review", "evaluations", "work"]
    paths += [f"job/{job}", "calls", "operations", "keys"]
    for path in paths:
        await page.set_viewport_size({"width": 1240, "height": 900})
        await page.goto(world.url if path == "/" else f"{world.url}/console/{path}")
        assert await in_both_lights(page) == [], path
        if path != "/":  # there the question has the focus
            await page.keyboard.press("Tab")
            assert await page.evaluate("document.activeElement.textContent") == "Skip to the content", path
        await world.fits_a_phone(page)


@pytest.mark.parametrize("window", ["light"], indirect=True)
async def test_a_link_from_another_site_opens_for_whoever_is_signed_in(world, window):
    answer = await world.asked("Within how many days may goods be returned?")
    page, there = window.page, f"{world.url}/console/answers/{answer['id']}"
    await world.sign_in(page)
    await page.goto(world.url.replace("127.0.0.1", "localhost"))  # another site, to a browser and its Strict cookies
    await page.evaluate("there => { location.href = there }", f"{world.url}/console/operations")
    await page.get_by_role("heading", name="Operation", level=1).wait_for()

    await page.goto(world.url.replace("127.0.0.1", "localhost"))
    await page.evaluate("there => { location.href = there }", there)
    await page.get_by_role("link", name="Go on to the page").click()  # an answer's reading may be noted: not by itself
    await page.get_by_role("heading", name="Why this answer", level=1).wait_for()
    window.foreign.clear()

    await page.context.clear_cookies()
    await page.goto(world.url.replace("127.0.0.1", "localhost"))
    await page.evaluate("there => { location.href = there }", there)
    await page.get_by_role("link", name="Go on to the page").click()
    await page.get_by_label("API key").wait_for()
    assert page.url == f"{world.url}/"
    window.foreign.clear()
