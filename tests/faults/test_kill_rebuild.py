"""kill -9 at any instant while a lost index is filled again from the catalogue: the next start goes on and ends whole."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from pathlib import Path

from tests.faults.rebuild_driver import settings

from bascule.bootstrap import App, init, open_app
from bascule.core.connectors import SourceItem
from bascule.core.principals import Principal, system_principal
from bascule.core.rights import Rights
from bascule.ops.doctor import agreement
from bascule.testing.killing import killed
from bascule.testing.running import until

DRIVER = Path(__file__).with_name("rebuild_driver.py")
DOCUMENTS = 48
KILLS = 60 if os.environ.get("BASCULE_TEST_FULL") else 2
SEED = 20261128
WHO = system_principal("default")
READER = Principal(tenant="default", subject="ann", scopes=frozenset({"ask"}))


def word(number: int) -> str:
    return "kw" + "".join(chr(ord("b") + int(d)) for d in f"{number:04d}") + "x"


def lose(data: Path) -> None:
    """The index's files are gone, as doctor tells an operator to remove them."""
    found = [*data.glob("index.sqlite*"), *data.glob("vectors-*")]
    assert found, "where is the index?"
    for path in found:
        path.unlink()


async def prepared(data: Path) -> None:
    """Documents that all may read, some that nobody may, and some that were deleted."""
    await init(settings(data))
    async with open_app(settings(data), work=True) as app:
        assert app.ingest is not None
        for first, rights in ((0, Rights.of(["public"])), (DOCUMENTS, Rights.of(["group:hr"]))):
            items = [
                SourceItem(
                    external_id=f"d{n}", name=f"d{n}.md", data=f"# {word(n)}\n\nThe bridge {word(n)} opens.".encode()
                )
                for n in range(first, first + DOCUMENTS)
            ]
            await app.ingest.take(WHO, "docs", items, rights)

        async def ended() -> bool:
            return not await app.catalogue.unfinished_jobs() and not await app.catalogue.index_changes(1)

        await until(ended, 90)
        for document in await app.catalogue.documents(WHO, "docs", 1000, None):
            if int(document.external_id[1:]) % 8 == 7:
                await app.ingest.delete(WHO, document.id)
        await app.ingest.settle()


async def held(data: Path) -> int:
    """How much of the index is there, before anybody goes on."""
    async with open_app(settings(data), work=False) as app:
        assert app.store is not None
        return len(await app.store.chunk_ids("default"))


async def check(data: Path) -> None:
    """The next start fills it: everything that lives is found in both ways, nothing else is there, and doctor agrees."""
    async with open_app(settings(data), work=True) as app:
        assert app.store is not None

        async def whole() -> bool:
            return not [note for note in app.degraded if note.startswith("index")] and await _ids(app)

        await until(whole, 60)
        (line,) = await agreement(app.catalogue, app.store, ["default"])
        assert line.state == "ok", line
        for number in range(0, 2 * DOCUMENTS, 13):
            await finds(app, number)


async def _ids(app: App) -> bool:
    assert app.store is not None
    return await app.store.chunk_ids("default") == await app.catalogue.live_point_ids("default")


async def finds(app: App, number: int) -> None:
    assert app.questions is not None
    hits = await app.questions.search(READER, word(number), collections=["docs"], limit=100)
    names = [hit.chunk.name for hit in hits]
    there = number < DOCUMENTS and number % 8 != 7
    assert (names[:1] == [f"d{number}.md"]) == there
    assert len(names) == len(set(names)) == DOCUMENTS * 7 // 8
    assert not there or {"dense", "lexical"} <= set(hits[0].parts)


async def test_F18_the_rebuild_of_a_lost_index_killed_at_any_instant_goes_on_and_ends_whole(tmp_path: Path) -> None:
    original = tmp_path / "original"
    await prepared(original)
    await asyncio.to_thread(lose, original)
    chance, at_work, kills, partial = random.Random(SEED), 0, 0, 0
    while kills < KILLS:
        data, begun = tmp_path / f"data{kills}", tmp_path / "begun"
        shutil.copytree(original, data)
        for _ in range(2):
            at_work += await asyncio.to_thread(killed, DRIVER, data, begun, chance.uniform(0, 0.8))
            kills += 1
            partial += 0 < await held(data) < DOCUMENTS * 2 * 7 // 8
        await check(data)
    assert at_work, "no kill fell into the work: the test proves nothing"
    assert KILLS < 10 or partial, "no kill left half an index"
