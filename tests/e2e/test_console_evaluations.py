"""Evaluation runs in a browser: drawn together, one in full, two compared; names that try to be markup stay names."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


def a_run(name: str, right: int, hostile: str) -> dict[str, Any]:
    """Ten questions, `right` of them answered rightly, the surest ones first."""
    cases = [
        {
            "key": f"k{number}",
            "question": f"Question {number}? {hostile}",
            "status": "answered",
            "figures": {"score": 1 if number < right else -1, "confidence": 1 - number / 10, "answer_s": 0.01},
        }
        for number in range(10)
    ]
    figures = {"questions": 10, "answer_score": (2 * right - 10) / 10, "risk": 1 - right / 10}
    return {"kind": "golden", "name": name, "figures": figures, "notes": {"seed": hostile[:100]}, "cases": cases}


@pytest.mark.parametrize("window", ["dark"], indirect=True)
async def test_runs_are_drawn_together_opened_and_compared(world, window):
    page = window.page
    name = f"shop {world.scheme} <script>alert(1)</script>"
    for right in (2, 9):
        await world.posted("/v1/evaluations", a_run(name, right, world.hostile))
    await world.sign_in(page)
    await page.get_by_role("link", name="Evaluations").click()
    drawing = page.get_by_role("img", name="answer_score over the runs")
    await drawing.locator("circle").nth(1).wait_for()
    assert sum(title.startswith(f"{name}, ") for title in await drawing.locator("title").all_text_contents()) == 2
    await page.get_by_label("Figure", exact=True).select_option("risk")
    await page.get_by_role("img", name="risk over the runs").wait_for()
    await world.shoot(page, "evaluations", full_page=True)

    await page.get_by_role("button", name="Compare A with B").click()
    rows = page.get_by_role("region", name="Figures of both runs").get_by_role("row")
    score = await rows.filter(has_text="score").inner_text()
    assert "-0.600" in score and "0.800" in score and "better" in score and "0.016" in score
    await page.get_by_role("img", name="Risk by coverage").wait_for()
    assert world.hostile in await page.inner_text("main")
    await world.fits_a_phone(page)
    await world.shoot(page, "comparison-phone", full_page=True)

    await page.get_by_role("link", name=name).first.click()
    await page.get_by_role("heading", name=name, level=1).wait_for()
    assert world.hostile in await page.inner_text("table")
    assert await page.locator("main :is(img, script, iframe, object)").count() == 0
    await world.fits_a_phone(page)


@pytest.mark.parametrize("window", ["light"], indirect=True)
async def test_a_run_of_somebody_else_is_not_there(world, window):
    run = await world.posted("/v1/evaluations", a_run("mine", 5, ""))
    await world.sign_in(window.page, await world.a_key(name="eve", subject="eve", scopes=["ask"]))
    paths = [f"/console/evaluations/{run['id']}", f"/console/evaluations/{'0' * 36}"]
    paths += [f"/console/evaluations/compare?a={path.rpartition('/')[2]}&b=x" for path in paths]
    replies = [await window.page.request.get(world.url + path) for path in paths]
    assert [reply.status for reply in replies] == [404] * 4
    assert len({await reply.text() for reply in replies}) == 1
    await window.page.goto(f"{world.url}/console/evaluations")
    assert "No runs yet" in await window.page.inner_text("main")
