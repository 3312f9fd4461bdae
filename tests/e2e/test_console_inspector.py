"""Why an answer came out as it did, in a browser: with the key that asked, with another, and with hostile names everywhere."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest.mark.parametrize("window", ["light"], indirect=True)
async def test_an_answer_is_looked_into_from_its_link_to_its_passages(world, window):
    page = window.page
    await world.sign_in(page)
    await page.get_by_label("Question").fill("Within how many days may goods be returned?")
    await page.keyboard.press("Enter")
    await page.get_by_role("link", name="Why this answer").click()
    await page.get_by_role("heading", name="Why this answer", level=1).wait_for()

    assert "answered from the passages that are cited" in await page.inner_text("article.answer")
    assert "word for word from its source" in await page.inner_text(".checks")
    passages = page.get_by_role("region", name="Passages with their scores")
    assert {"Words", "Joined", "In the end", "What became of it"} <= set(await passages.locator("th").all_inner_texts())
    assert "cited" in await passages.inner_text()
    for step in ("Rights checked by the catalogue", "Answer checked against its passages"):
        assert step in await page.inner_text(".steps >> nth=0")
    await passages.get_by_role("button", name="Returns and refunds").first.click()
    await page.wait_for_selector("dialog[open] .here")
    await page.keyboard.press("Escape")
    await world.shoot(page, "why", full_page=True)
    await world.fits_a_phone(page)
    await world.shoot(page, "why-phone", full_page=True)


@pytest.mark.parametrize("window", ["dark"], indirect=True)
async def test_answers_are_listed_by_how_they_ended_and_open_their_page(world, window):
    page = window.page
    asked = {
        "answered": "Within how many days may goods be returned?",
        "refused": f"Who was the second emperor of the Ming dynasty? {world.hostile}",
    }
    for question in asked.values():
        await world.asked(question)
    await world.sign_in(page)
    await page.get_by_role("link", name="Answers", exact=True).click()
    rows = page.get_by_role("region", name="Answers").get_by_role("row")
    for question in asked.values():
        await rows.filter(has_text=question).first.wait_for()
    await page.get_by_label("Outcome").select_option("refused")
    await page.wait_for_url("**status=refused**")
    refused = rows.filter(has_text=asked["refused"]).first
    assert "no_evidence" in await refused.inner_text() or "not_said" in await refused.inner_text()
    assert await rows.filter(has_text=asked["answered"]).count() == 0
    assert await page.locator("main :is(img, script, iframe)").count() == 0
    await world.fits_a_phone(page)
    await world.shoot(page, "answers-phone", full_page=True)
    await refused.get_by_role("link").click()
    await page.get_by_role("heading", name="Why this answer", level=1).wait_for()

    await page.goto(f"{world.url}/console/answers?collection=nowhere")
    await page.get_by_text("No answers like this.").wait_for()


@pytest.mark.parametrize("window", ["dark"], indirect=True)
async def test_what_was_expected_is_judged_and_the_question_asked_again(world, window):
    page = window.page
    await world.sign_in(page)
    answer = await world.asked("Within how many days may goods be returned?")
    await page.goto(f"{world.url}/console/answers/{answer['id']}")
    await page.get_by_label("A document (id, name or title) or a text").fill("nobody wrote <b>this</b> anywhere")
    await page.keyboard.press("Enter")
    verdict = await page.inner_text(".verdict")
    assert "Not indexed." in verdict and "Nothing that may be read here" in verdict

    await page.get_by_label("A document (id, name or title) or a text").fill("salaries.md")
    await page.get_by_label("Also what the asker may not read").check()
    await page.get_by_role("button", name="Find out").click()
    await page.get_by_text("In truth:").wait_for()
    await page.locator(".verdict").nth(1).wait_for()

    await page.get_by_role("button", name="Ask again").click()
    await page.get_by_text("The answer and its verdict are the same as before.").wait_for()


@pytest.mark.parametrize("window", ["light"], indirect=True)
async def test_another_key_meets_the_same_reply_as_for_an_answer_that_is_not_there(world, window):
    page = window.page
    answer = await world.asked("Within how many days may goods be returned?")
    await world.sign_in(page, await world.a_key(name="ann", subject="ann", scopes=["ask"]))
    replies = [await page.request.get(f"{world.url}/console/answers/{id}") for id in (answer["id"], "0" * 32)]
    assert [reply.status for reply in replies] == [404, 404]
    bodies = [await reply.text() for reply in replies]
    assert bodies[0] == bodies[1] and "There is no such answer." in bodies[0]


@pytest.mark.parametrize("window", ["light"], indirect=True)
async def test_what_documents_and_questions_smuggle_into_the_page_stays_text(world, window):
    page = window.page
    await world.sign_in(page)
    answer = await world.asked(f"Are faulty lamps replaced at our cost? {world.hostile}")
    await page.goto(f"{world.url}/console/answers/{answer['id']}?expect=%3Cscript%3Ealert(3)%3C/script%3E")
    assert world.hostile in await page.inner_text("#asked")
    assert await page.locator("main :is(img, script, iframe)").count() == 0
    assert await page.locator("main a:not([href^='/console/'])").count() == 0
