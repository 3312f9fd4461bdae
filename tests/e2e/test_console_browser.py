"""A real browser on a real server process: sign in, ask, open the citation. Nothing foreign is asked for, nothing complains."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def ask(page: Any, question: str, status: str) -> None:
    await page.get_by_label("Question").fill(question)
    await page.keyboard.press("Enter")
    await page.wait_for_selector(f"article.answer.{status} >> text={question}")


@pytest.mark.parametrize("window", ["light"], indirect=True)
async def test_a_person_asks_reads_the_citation_and_opens_the_passage(world, window):
    page = window.page
    await page.goto(world.url)
    await world.shoot(page, "login")
    await world.sign_in(page)
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
    await page.locator("dialog[open]").wait_for(state="detached")


@pytest.mark.parametrize("window", ["dark"], indirect=True)
async def test_documents_and_jobs_are_shown_with_their_rights_and_reasons(world, window):
    page = window.page
    await world.sign_in(page)
    await page.wait_for_selector("#jobs .jobs")
    documents = await page.inner_text("#documents")
    assert "Returns and refunds" in documents and "group:hr" in documents and "public" in documents
    assert "broken.pdf" in documents and "damaged" in documents
    assert "documents" in await page.inner_text("#jobs .jobs")

    await page.set_viewport_size({"width": 390, "height": 800})
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    await world.shoot(page, "phone", full_page=True)
    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_selector("#key")


@pytest.mark.parametrize("window", ["light"], indirect=True)
async def test_what_a_document_smuggles_in_stays_text_and_a_refusal_says_why(world, window):
    page = window.page
    await world.sign_in(page)
    await ask(page, "Are faulty lamps replaced at our cost?", "answered")
    assert "two years" in await page.inner_text("article.answer .prose")
    await page.locator("button.source").first.click()
    await page.wait_for_selector("dialog[open] .here")
    assert world.hostile in await page.inner_text("dialog .here")
    for inside in ("#answer", "dialog"):
        assert await page.locator(f"{inside} :is(img, script, a:not([href^='/console/answers/']), iframe)").count() == 0
    await page.get_by_role("button", name="Close the passage").click()

    await ask(page, "Who was the third emperor of the Ming dynasty?", "refused")
    assert await page.locator("button.source").count() == 0
    await world.shoot(page, "refused")
