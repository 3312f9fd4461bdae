"""Sources and jobs in a browser: read, held back, deleted only when confirmed; a job's bar moves by its events."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest.mark.parametrize("window", ["light"], indirect=True)
async def test_a_source_is_read_held_back_and_emptied_only_when_that_is_confirmed(world, window):
    page = window.page
    await world.sign_in(page)
    await page.get_by_role("link", name="Sources and jobs").click()
    source = page.get_by_role("article", name=f"Source wiki-{world.scheme}")
    assert "not read yet" in await source.inner_text() and "no schedule" in await source.inner_text()
    await source.get_by_role("button", name="Read now").click()
    await source.get_by_text("6 taken in").wait_for()

    for number in range(5):
        (world.folder / f"wiki-{world.scheme}" / f"page{number}.md").unlink()
    await source.get_by_role("button", name="Read now").click()
    await source.get_by_text("5 documents are gone from the source and kept here").wait_for()
    await world.shoot(page, "sources", full_page=True)
    await source.get_by_role("button", name="Read and delete").click()  # without the tick the browser holds it back
    assert not await source.get_by_label("Delete what has gone").evaluate("box => box.validity.valid")
    await source.get_by_label("Delete what has gone").check()
    await source.get_by_role("button", name="Read and delete").click()
    await source.get_by_text("5 deleted").wait_for()

    await source.get_by_role("button", name="Hold its jobs back").click()
    await source.get_by_text("held back", exact=True).wait_for()
    await source.get_by_role("button", name="Go on with its jobs").click()
    await source.get_by_role("button", name="Hold its jobs back").wait_for()
    await world.fits_a_phone(page)
    await world.shoot(page, "sources-phone", full_page=True)


@pytest.mark.parametrize("window", ["dark"], indirect=True)
async def test_a_job_moves_by_its_events_and_tells_why_a_document_failed(world, window):
    page = window.page
    collection = f"later-{world.scheme}"
    await world.posted(
        "/v1/documents", {"collection": collection, "documents": [{"external_id": "a", "text": "first"}]}
    )
    await world.posted("/v1/pauses", {"kind": "collection", "name": collection}, method="PUT")
    named = f"<img src=x onerror=alert(1)> {world.scheme}"
    documents = [
        {"external_id": "b", "name": "b.md", "text": "The bridge of March opens at noon."},
        {"external_id": "c", "name": named, "content_base64": "JVBERi0xLjcK"},
    ]
    job = await world.posted("/v1/documents", {"collection": collection, "documents": documents})

    await world.sign_in(page)
    await page.goto(f"{world.url}/console/job/{job['id']}")
    card = page.locator("article.job")
    await card.get_by_text("paused", exact=True).wait_for()
    assert "0 of 2" in await card.inner_text()
    lift = f"/v1/pauses?kind=collection&name={collection}"
    await world.posted(lift, method="DELETE")
    await card.get_by_text("2 of 2").wait_for()
    await card.get_by_text("damaged").wait_for()
    assert named in await card.inner_text()
    assert await page.locator("main :is(img, script, iframe)").count() == 0
    await world.fits_a_phone(page)

    await page.goto(f"{world.url}/console/work?state=done")
    given_up = page.get_by_role("region", name="Given up, with reasons")
    assert named in await given_up.inner_text()
    await page.get_by_role("button", name="Try all of them again").click()
    await page.get_by_text("tried again").wait_for()


@pytest.mark.parametrize("window", ["light"], indirect=True)
async def test_a_key_without_the_scopes_sees_no_sources_and_no_job_of_others(world, window):
    hold = {"kind": "collection", "name": "held"}
    await world.posted("/v1/documents", {"collection": "held", "documents": [{"external_id": "a", "text": "first"}]})
    await world.posted("/v1/pauses", hold, method="PUT")
    job = await world.posted(
        "/v1/documents", {"collection": "held", "documents": [{"external_id": "b", "text": "The gate is shut."}]}
    )
    page = window.page
    await world.sign_in(page, await world.a_key(name="eve", subject="eve", scopes=["ask", "ingest"]))
    await page.goto(f"{world.url}/console/work")
    assert await page.get_by_role("heading", name="Sources", exact=True).count() == 0
    for path in (f"job/{job['id']}", f"job/{job['id']}/events", f"job/{'0' * 36}"):
        assert (await page.request.get(f"{world.url}/console/{path}")).status == 404
    for path, do in ((f"job/{job['id']}", "cancel"), ("source/wiki-light", "sync")):
        reply = await world.posts(page, f"/console/{path}", {"do": do})
        assert (reply.status, "Read now" in await reply.text()) == (404 if do == "cancel" else 200, False)
    there = f"/v1/jobs/{job['id']}"
    assert (await world.posted(there, method="GET"))["state"] == "paused"
    assert (await world.posted(f"{there}/cancel"))["state"] == "cancelled", "it was there to be cancelled"
    await world.posted("/v1/pauses?kind=collection&name=held", method="DELETE")
