"""How the sources of the operator's file stand, over a real server: for administrators of their tenant, and nothing but that."""

import aiohttp
import pytest

from bascule.core.principals import system_principal
from bascule.testing.running import running, settings_for, until


@pytest.fixture
async def served(tmp_path):
    folder = tmp_path / "wiki"
    folder.mkdir()
    for name in ("swing", "lift", "rolling"):
        (folder / f"{name}.txt").write_text(f"The {name} bridge opens at noon.")
    (folder / "blank.txt").write_text("")
    wiki = {"kind": "folder", "paths": [str(folder)], "collection": "wiki", "allow": ["public"]}
    theirs = {"kind": "folder", "paths": [str(folder)], "collection": "wiki", "tenant": "rival"}
    settings = settings_for(tmp_path / "data", rag={"embedding_model": None}, sources={"wiki": wiki, "theirs": theirs})
    async with running(settings) as (url, app, key):
        async with aiohttp.ClientSession(url, headers={"authorization": f"Bearer {key}"}) as http:
            yield folder, app, http


async def sources(http):
    async with http.get("/v1/sources") as reply:
        assert reply.status == 200
        return (await reply.json())["data"]


async def synced(http, **body):
    """The source when its run has ended."""
    async with http.post("/v1/sources/wiki/sync", json=body) as reply:
        assert (reply.status, (await reply.json())["state"]) in ((202, "running"), (202, "done"))

    async def ended():
        (found,) = await sources(http)
        return found if found["finished_at"] else None

    await until(ended, 30)
    return await ended()


async def test_a_source_is_read_on_request_and_says_what_came_of_it(served):
    folder, app, http = served
    (before,) = await sources(http)
    assert (before["name"], before["kind"], before["state"], before["last"]) == ("wiki", "folder", "never run", None)
    first = await synced(http)
    assert first["state"] == "done" and first["last"]["taken"] >= 3
    for path in list(folder.iterdir()):
        path.unlink()
    held = await synced(http)
    assert held["last"]["deleted"] == 0 and held["last"]["held_back"] >= 3 and "confirm" in held["last"]["reason"]
    gone = await synced(http, confirm_deletions=True)
    assert gone["last"]["deleted"] == held["last"]["held_back"]
    assert "swing" not in str(gone), "no name of a document outlives it"
    acts = [row.act for row in await app.catalogue.audit_rows(system_principal("default"), 50)]
    assert acts.count("source.sync") == 3


async def test_a_source_that_does_not_answer_says_why(served):
    folder, _, http = served
    for path in list(folder.iterdir()):
        path.unlink()
    folder.rmdir()
    found = await synced(http)
    assert found["state"] == "failed" and (found["last"]["stopped"] or found["last"]["error"])


async def test_another_tenants_source_and_none_at_all_look_the_same(served):
    _, _, http = served
    seen = set()
    for name in ("theirs", "nobody"):
        async with http.post(f"/v1/sources/{name}/sync", json={}) as reply:
            seen.add((reply.status, await reply.text()))
    assert len(seen) == 1 and seen.pop()[0] == 404
