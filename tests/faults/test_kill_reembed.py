"""kill -9 at any instant while a collection is embedded anew: it is searched whole by the old vectors, or whole by the new."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from pathlib import Path

from tests.faults.reembed_driver import settings

from bascule.bootstrap import App, init, open_app
from bascule.core.connectors import SourceItem
from bascule.core.principals import Principal, system_principal
from bascule.core.rights import Rights
from bascule.testing.killing import killed
from bascule.testing.running import until

DRIVER = Path(__file__).with_name("reembed_driver.py")
DOCUMENTS = 24
KILLS = 60 if os.environ.get("BASCULE_TEST_FULL") else 1
SEED = 20261128
WHO = system_principal("default")
READER = Principal(tenant="default", subject="ann", scopes=frozenset({"ask"}))


def word(number: int) -> str:
    return "kw" + "".join(chr(ord("b") + int(d)) for d in f"{number:04d}") + "x"


async def prepared(data: Path) -> None:
    """A folder with documents embedded by the small model, and a job for the large one that nobody has begun."""
    await init(settings(data))
    async with open_app(settings(data), work=True) as app:
        assert app.ingest is not None
        items = [
            SourceItem(
                external_id=f"d{n}", name=f"d{n}.md", data=f"# {word(n)}\n\nThe bridge {word(n)} opens.".encode()
            )
            for n in range(DOCUMENTS)
        ]
        await app.ingest.take(WHO, "docs", items, Rights.of(["public"]))

        async def ended() -> bool:
            return not await app.catalogue.unfinished_jobs() and not await app.catalogue.index_changes(1)

        await until(ended, 90)
        assert app.reembed is not None
        await app.catalogue.pause_jobs(WHO, "collection", "docs")
        await app.reembed.start(WHO, "docs", "large")


async def finish(data: Path) -> None:
    """Nothing of what was replaced is left then."""
    async with open_app(settings(data), work=True) as app:
        assert app.ingest is not None and app.store is not None

        async def ended() -> bool:
            return not await app.catalogue.unfinished_jobs()

        await until(ended, 90)
        while await app.catalogue.clear_retired(-1, 100):
            await app.ingest.settle()
        await app.ingest.settle()
        assert await app.store.chunk_ids("default") == await app.catalogue.live_point_ids("default")


async def check(data: Path) -> int:
    """Everything is found in both ways, in the generation that is searched. Which one that is."""
    async with open_app(settings(data), work=False) as app:
        assert app.ingest is not None and app.store is not None
        await app.ingest.settle()
        (facts,) = await app.catalogue.collection_facts(WHO)
        assert (facts.chunks, facts.unembedded) == (DOCUMENTS, 0)
        assert facts.collection.dimension == (96 if facts.collection.generation else 64)
        assert (facts.building is None) == bool(facts.collection.generation), "the job is neither lost nor ended early"
        assert await app.catalogue.live_point_ids("default") <= await app.store.chunk_ids("default")
        for number in range(0, DOCUMENTS, 7):
            await finds(app, number)
        return facts.collection.generation


async def finds(app: App, number: int) -> None:
    assert app.questions is not None
    hits = await app.questions.search(READER, word(number), collections=["docs"], limit=DOCUMENTS)
    assert hits[0].chunk.name == f"d{number}.md"
    assert {"dense", "lexical"} <= set(hits[0].parts)
    assert len(hits) == len({hit.chunk.id for hit in hits}) == DOCUMENTS


async def test_F18_I7_a_reembedding_killed_at_any_instant_goes_on_and_switches_once(tmp_path: Path) -> None:
    original = tmp_path / "original"
    await prepared(original)
    chance, at_work, kills = random.Random(SEED), 0, 0
    while kills < KILLS:
        data, begun = tmp_path / f"data{kills}", tmp_path / "begun"
        shutil.copytree(original, data)
        for _ in range(min(2, KILLS)):
            at_work += await asyncio.to_thread(killed, DRIVER, data, begun, chance.uniform(0, 0.4))
            kills += 1
            await check(data)
        await finish(data)
        assert await check(data) == 1
    assert at_work, "no kill fell into the work: the test proves nothing"
