"""Calls, usage, health and keys in a browser, by an administrator and by somebody who is none."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

HELLO = {"model": "fast", "messages": [{"role": "user", "content": "hello"}]}


@pytest.mark.parametrize("window", ["dark"], indirect=True)
async def test_calls_are_listed_opened_and_added_up(world, window):
    for _ in range(3):
        await world.posted("/v1/chat/completions", HELLO)
    assert await world.refused("/v1/chat/completions", HELLO | {"model": "away"}) >= 500
    await world.eventually("/v1/calls?model=fast", lambda found: len(found["data"]) >= 3)
    await world.eventually("/v1/calls?model=away", lambda found: found["data"])
    page = window.page
    await world.sign_in(page)
    await page.get_by_role("link", name="Calls", exact=True).click()
    rows = page.get_by_role("region", name="Model calls").get_by_role("row")
    await rows.filter(has_text="away").first.wait_for()
    await page.get_by_label("Outcome").select_option("error")
    await page.get_by_role("button", name="Show").click()
    await page.wait_for_url("**outcome=error**")
    assert "away" in await rows.nth(1).inner_text() and await rows.filter(has_text="fast").count() == 0
    await page.get_by_label("Model", exact=True).fill("fast")
    await page.get_by_role("button", name="Show").click()
    await page.get_by_text("No calls like this.").wait_for()
    await page.get_by_label("Outcome").select_option("ok")
    await page.get_by_role("button", name="Show").click()
    await rows.filter(has_text="hit").nth(1).wait_for()
    assert await rows.filter(has_text="away").count() == 0
    await rows.filter(has_text="miss").get_by_role("link").first.click()
    await page.get_by_role("heading", name="Where its time went").wait_for()
    assert "echo" in await page.inner_text("main")
    await world.fits_a_phone(page)

    await page.goto(f"{world.url}/console/operations?figure=calls")
    assert await page.get_by_role("img", name="Calls by day").locator("rect").count() >= 1
    by_model = page.get_by_role("region", name="Usage, by model")
    assert "fast" in await by_model.inner_text()
    health = page.get_by_role("region", name="Health")
    for name in ("catalogue", "index", "parsers"):
        assert name in await health.inner_text()
    assert "lets calls through" in await page.inner_text("main")
    await world.fits_a_phone(page)
    await world.shoot(page, "operation-phone", full_page=True)


@pytest.mark.parametrize("window", ["light"], indirect=True)
async def test_a_key_is_made_shown_once_and_revoked(world, window):
    page = window.page
    name = "till <img src=x onerror=alert(1)>"
    await world.sign_in(page)
    await page.get_by_role("link", name="Keys").click()
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("USD a day").fill("2.5")
    await page.get_by_label("Groups").fill("shop, night")
    await page.get_by_role("button", name="Make the key").click()
    await page.get_by_text("it is shown this once").wait_for()
    key = await page.get_by_label("The new key").input_value()
    assert key.startswith("bsk_")
    row = page.get_by_role("region", name="API keys").get_by_role("row").filter(has_text=name)
    assert "2.5 USD a day" in await row.inner_text() and "night" in await row.inner_text()
    assert await page.locator("main img").count() == 0
    await page.goto(f"{world.url}/console/keys")
    assert key not in await page.content()
    assert await world.status("/v1/models", key) == 200

    await row.get_by_text("Revoke…").click()
    await row.get_by_role("button", name=f"Revoke {name} now").click()
    await row.get_by_text("revoked").wait_for()
    assert await world.status("/v1/models", key) == 401
    await world.fits_a_phone(page)
    await world.shoot(page, "keys-phone", full_page=True)

    await page.get_by_label("Name").fill("wrong")
    await page.get_by_label("Requests a minute").fill("many")
    await page.get_by_role("button", name="Make the key").click()
    assert "Expected `int" in await page.inner_text("#made .note.bad")
    # The browser itself tells of the refusal.
    window.complaints[:] = [told for told in window.complaints if "400" not in told and "422" not in told]


@pytest.mark.parametrize("window", ["light"], indirect=True)
async def test_somebody_who_is_no_administrator_sees_their_own_calls_and_no_keys(world, window):
    page = window.page
    await world.posted("/v1/chat/completions", HELLO)
    await world.sign_in(page, await world.a_key(name="kim", subject="kim", scopes=["ask", "chat"]))
    places = await page.get_by_role("navigation", name="Pages").inner_text()
    assert "Calls" in places and "Operation" in places and "Keys" not in places
    await page.goto(f"{world.url}/console/calls")
    assert "No calls yet" in await page.inner_text("main")
    await page.goto(f"{world.url}/console/operations")
    assert await page.get_by_role("heading", name="Health").count() == 0
    assert (await page.request.get(f"{world.url}/console/keys")).status == 403
    made = await world.posts(page, "/console/keys", {"name": "x"})
    assert made.status == 403
