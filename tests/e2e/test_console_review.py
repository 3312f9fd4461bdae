"""Feedback given and looked through in a browser: what is accepted leaves as a golden set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest.mark.parametrize("window", ["light"], indirect=True)
async def test_feedback_on_an_answer_becomes_a_line_of_a_golden_set(world, window):
    page = window.page
    question = f"When is the price refunded? <script>alert('{world.scheme}')</script>"
    answer = await world.asked(question)
    await world.sign_in(page)
    await page.goto(f"{world.url}/console/answers/{answer['id']}")
    asked = page.get_by_role("group", name="Was this a good answer?")
    await asked.get_by_role("button", name="No").focus()
    await page.keyboard.press("Enter")
    await page.get_by_label("What would have been right, in few words").fill("within five working days <b>")
    await page.keyboard.press("Enter")
    await page.get_by_text("Kept. Thank you").wait_for()

    await page.goto(f"{world.url}/console/review")
    chosen = page.get_by_role("checkbox", name=question)
    assert await chosen.is_checked()
    assert "within five working days <b>" in await page.inner_text(".candidates")
    assert await page.locator("main :is(img, script, iframe, b)").count() == 0
    await world.fits_a_phone(page)
    await world.shoot(page, "review-phone", full_page=True)
    for other in await page.get_by_role("checkbox", checked=True).all():
        if await other.get_attribute("id") != await chosen.get_attribute("id"):
            await other.uncheck()
    async with page.expect_download() as waiting:
        await page.get_by_role("button", name="Download the accepted ones").click()
    lines = Path(await (await waiting.value).path()).read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"question": question, "answer": ["within five working days <b>"]}]


@pytest.mark.parametrize("window", ["dark"], indirect=True)
async def test_only_the_asker_says_how_good_an_answer_is(world, window):
    answer = await world.asked("Within how many days may goods be returned?")
    await world.sign_in(window.page, await world.a_key(name="bob", subject="bob", scopes=["ask"]))
    for id in (answer["id"], "0" * 32):
        reply = await world.posts(window.page, f"/console/feedback/{id}", {"rating": "1"})
        assert reply.status == 404
        assert "Only whoever asked" in await reply.text()


@pytest.mark.parametrize("window", ["dark"], indirect=True)
async def test_questions_are_proposed_from_documents_and_accepted_or_rejected_into_a_set(world, window):
    text = "# Bridge <b>x</b>\n\nThe Harbour Bridge was opened in 1894. The Harbour Bridge was designed by Ada Holm.\n"
    given = {"collection": "bridges", "allow": ["public"], "documents": [{"external_id": "b.md", "text": text}]}
    job = (await world.posted("/v1/documents", given))["id"]
    await world.eventually(f"/v1/jobs/{job}", lambda found: found["state"] == "done")
    page = window.page
    await world.sign_in(page)
    await page.goto(f"{world.url}/console/review")
    await page.locator("#drafted").select_option("bridges")
    await page.get_by_role("button", name="Propose questions").click()
    opened = page.get_by_role("group", name="When was the Harbour Bridge opened?")
    await opened.get_by_text("expected: 1894").wait_for()
    await opened.get_by_label("Accept").check()
    other = page.get_by_role("group", name="By whom was the Harbour Bridge designed?")
    await other.get_by_label("Reject").check()
    assert await page.locator("main :is(img, script, iframe, b)").count() == 0
    await world.fits_a_phone(page)
    await world.shoot(page, "drafts-phone", full_page=True)
    async with page.expect_download() as waiting:
        await page.get_by_role("button", name="Download the set").click()
    made = Path(await (await waiting.value).path()).read_text()
    said = {line["question"]: line.get("status", "accepted") for line in map(json.loads, made.splitlines())}
    assert said["When was the Harbour Bridge opened?"] == "accepted"
    assert said["By whom was the Harbour Bridge designed?"] == "rejected"
    assert "draft" in said.values(), "what nothing was said of stays one"

    document = json.loads(made.splitlines()[0])["document_id"]
    await world.deleted(f"/v1/documents/{document}")
    await page.get_by_text("Look through a set that").click()
    await page.get_by_label("Its lines").fill(made)
    await page.get_by_role("button", name="Show its questions").click()
    await page.get_by_text("gone, or not yours to read").wait_for()
    assert await page.get_by_role("group", name="When was the Harbour Bridge opened?").count() == 0
