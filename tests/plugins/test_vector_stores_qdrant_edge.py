from __future__ import annotations

import asyncio
import importlib
import os
import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bascule.core.errors import ConfigError
from bascule.core.vectors import Point
from bascule.plugins.vector_stores import qdrant_edge
from bascule.plugins.vector_stores.memory import MemoryVectorStore
from bascule.plugins.vector_stores.qdrant_edge import EdgeVectorStore, Settings, keeping, searching
from bascule.plugins.vector_stores.qdrant_edge.building import build
from bascule.plugins.vector_stores.qdrant_edge.generation import Generation
from bascule.plugins.vector_stores.qdrant_edge.layout import EngineRefused
from bascule.plugins.vector_stores.sqlite import searching as scan
from bascule.testing.vector_store_contract import VectorStoreContract, agree, ids, point, same, scope, vector

ENGINE_ALWAYS = Settings(scan_below=0)


class Eager(EdgeVectorStore):
    """Every so often a write is followed by a new generation, built and opened here and not in a child, for speed."""

    def __init__(self, folder: Path, every: int = 1) -> None:
        super().__init__(folder, ENGINE_ALWAYS, rest_s=0, opener=Generation)
        self._every, self._writes, self.built = every, 0, 0

    async def upsert(self, points: Sequence[Point]) -> None:
        await super().upsert(points)
        self._writes += 1
        if self._every and self._writes % self._every == 0:
            assert await self._read(self.generate)

    def generate(self) -> bool:
        assert self._keeper.hold()
        self.built += 1
        target = self._keeper._edge / f"{keeping.UNFINISHED}{self.built}"
        build(self._keeper._folder, target, 1)
        return self._keeper.finish(target, 0)


@pytest.fixture
async def eager(tmp_path: Path) -> AsyncGenerator[Eager]:
    store = Eager(tmp_path)
    yield store
    await store.close()


class TestFromGenerations(VectorStoreContract):
    """The contract with the engine asked whenever there is anything it knows."""

    @pytest.fixture
    async def store(self, eager: Eager) -> Eager:
        return eager


@pytest.mark.parametrize("seed", range(2))
async def test_it_answers_like_the_naive_reference_after_any_history(tmp_path: Path, seed: int) -> None:
    store = Eager(tmp_path, every=7)
    try:
        await agree(store, MemoryVectorStore(), seed, steps=40)
        assert store.built >= 2 and await store.check() == []
    finally:
        await store.close()


def many(count: int, dimension: int = 32, seed: int = 1) -> list[Point]:
    rng, chance = np.random.default_rng(seed), random.Random(seed)
    rows = rng.standard_normal((count, dimension)).astype("<f4")
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return [
        point(
            f"c{n}",
            [f"w{int(chance.paretovariate(0.6))}" for _ in range(chance.randrange(5, 30))],
            vector=row.tobytes(),
            document_id=f"d{n // 10}",
            acl_id=chance.choices([1, 2, 3], [1, 9, 90])[0],
        )
        for n, row in enumerate(rows)
    ]


@pytest.fixture
async def filled(tmp_path: Path) -> AsyncGenerator[tuple[Eager, MemoryVectorStore]]:
    """400 chunks in a generation, and the naive reference."""
    store, reference = Eager(tmp_path, every=0), MemoryVectorStore()
    await store.upsert(many(400))
    await reference.upsert(many(400))
    assert await store._read(store.generate)
    yield store, reference
    await store.close()


def no_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Any:
        raise AssertionError("the answer came from a scan of everything")

    monkeypatch.setattr(scan, "dense", refuse)
    monkeypatch.setattr(scan, "lexical", refuse)


async def compare(store: EdgeVectorStore, reference: MemoryVectorStore, where: str) -> None:
    for allowed in ([1], [1, 2], [1, 2, 3], [7]):
        asked = scope(allowed=allowed)
        for n in range(2):
            query, words = many(1, seed=100 + n)[0].vector, [f"w{m}" for m in (1, 2, 3 + n, 40)]
            assert query is not None
            found = await store.lexical(words, asked, 20)
            same(found, await reference.lexical(words, asked, 20), f"{where}, lexical {n}")
            found = await store.dense(query, asked, 20)
            same(found, await reference.dense(query, asked, 20), f"{where}, dense {n}")


async def test_a_childs_generation_answers_and_what_changed_since_is_not_missed(
    filled: tuple[Eager, MemoryVectorStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, reference = filled
    assert await store.build()
    no_scan(monkeypatch)
    await compare(store, reference, "as built")
    for each in (store, reference):
        await each.move("d3", 7)
        await each.remove_document("d4")
        await each.remove(["c51", "c52"])
        await each.upsert(many(20, seed=9))
    await compare(store, reference, "after changes")


async def test_a_revoked_document_is_gone_though_the_engine_still_proposes_it(
    filled: tuple[Eager, MemoryVectorStore],
) -> None:
    store, _ = filled
    mine = many(400)[234]
    assert mine.vector is not None
    everyone = scope(allowed=[1, 2, 3])
    assert ids(await store.dense(mine.vector, everyone, 1)) == ["c234"]
    await store.move(mine.document_id, 9)
    assert "c234" not in ids(await store.dense(mine.vector, everyone, 50))
    assert "c234" not in ids(await store.lexical(mine.terms, everyone, 400))
    assert ids(await store.dense(mine.vector, scope(allowed=[9]), 1)) == ["c234"]


async def test_when_too_little_of_a_generation_is_still_true_everything_is_scanned(
    filled: tuple[Eager, MemoryVectorStore],
) -> None:
    store, reference = filled
    for each in (store, reference):
        for n in range(39):
            await each.move(f"d{n}", 7)
    await compare(store, reference, "nearly everything moved")


async def test_an_engine_that_fails_costs_speed_and_nothing_else(
    filled: tuple[Eager, MemoryVectorStore], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store, reference = filled

    def fail(*_: object) -> Any:
        raise EngineRefused("The search engine refused.") from RuntimeError("secret")

    monkeypatch.setattr(Generation, "dense", fail)
    monkeypatch.setattr(Generation, "lexical", fail)
    await compare(store, reference, "engine down")
    assert "answered by a scan" in caplog.text and "secret" not in caplog.text


async def test_where_many_score_alike_the_engine_is_asked_for_more_and_the_names_decide(
    eager: Eager, monkeypatch: pytest.MonkeyPatch
) -> None:
    alike = [point(f"c{n}", "same words", document_id=f"d{n}") for n in range(150)]
    reference = MemoryVectorStore()
    for each in (eager, reference):
        await each.upsert(alike)
        await each.upsert([point(f"x{n}", "other", document_id=f"x{n}", vector=None) for n in range(30)])
    no_scan(monkeypatch)
    found = await eager.lexical(["same"], scope(), 20)
    same(found, await reference.lexical(["same"], scope(), 20), "all alike")
    assert len(found) == 20


async def test_statistics_that_drifted_too_far_are_noticed(
    filled: tuple[Eager, MemoryVectorStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, reference = filled
    asked: list[bool] = []
    answer = searching.lexical

    def noted(*arguments: Any) -> Any:
        found = answer(*arguments)
        asked.append(found is not None)
        return found

    monkeypatch.setattr(qdrant_edge.searching, "lexical", noted)
    monkeypatch.setattr(searching, "MUCH_MORE", 1)
    for each in (store, reference):
        await each.upsert([point(f"long{n}", ["x"] * 900, document_id="long") for n in range(20)])
    await compare(store, reference, "the average length tripled")
    assert False in asked


async def test_a_generation_is_found_again_after_a_restart_and_a_spoilt_one_is_thrown_away(
    filled: tuple[Eager, MemoryVectorStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, reference = filled
    await store.close()
    again = EdgeVectorStore(tmp_path, ENGINE_ALWAYS)
    assert await again.hold()
    with monkeypatch.context() as patch:
        no_scan(patch)
        await compare(again, reference, "reopened")
    await again.close()
    (kept,) = (tmp_path / keeping.FOLDER).glob(f"{keeping.WHOLE}*")
    (kept / "facts.json").write_bytes(b"{")
    last = EdgeVectorStore(tmp_path, ENGINE_ALWAYS)
    assert await last.hold()
    assert not kept.exists()
    await compare(last, reference, "without")
    await last.close()


async def test_a_second_process_on_the_folder_searches_without_the_engine(
    filled: tuple[Eager, MemoryVectorStore], tmp_path: Path
) -> None:
    store, reference = filled
    second = EdgeVectorStore(tmp_path, ENGINE_ALWAYS)
    assert not await second.build()
    await compare(second, reference, "beside the holder")
    await second.upsert(many(30, seed=5))
    await reference.upsert(many(30, seed=5))
    await compare(store, reference, "what the other wrote")
    await second.close()


async def test_a_reset_leaves_nothing_of_a_generation(filled: tuple[Eager, MemoryVectorStore], tmp_path: Path) -> None:
    store, _ = filled
    await store.reset()
    assert not list((tmp_path / keeping.FOLDER).glob(f"{keeping.WHOLE}*"))
    assert await store.dense(vector(1, dimension=32), scope(), 9) == []
    await store.upsert([point("new", "alpha")])
    assert ids(await store.lexical(["alpha"], scope(), 9)) == ["new"]


async def test_generations_follow_the_changes_and_only_the_last_is_kept(eager: Eager, tmp_path: Path) -> None:
    assert await eager._read(lambda: not eager._keeper.due(1, 0.1, 1e9))
    await eager.upsert(many(40))
    assert not await eager._read(lambda: eager._keeper.due(1, 0.1, 1e9))
    await eager.move("d1", 2)
    await eager.remove(["c0"])
    due = eager._keeper.due
    assert await eager._read(lambda: due(1, 0.1, 1e9)) and not await eager._read(lambda: due(100, 0.1, 1e9))
    assert await eager._read(lambda: due(100, 0.1, 0)), "a removed chunk may not stay in the files for ever"
    assert await eager._read(eager.generate)
    assert not await eager._read(lambda: due(1, 0.1, 0))
    assert len(list((tmp_path / keeping.FOLDER).glob(f"{keeping.WHOLE}*"))) == 1


async def test_searches_during_a_swap_are_answered(filled: tuple[Eager, MemoryVectorStore]) -> None:
    store, reference = filled
    building = asyncio.create_task(store.build())
    while not building.done():
        await compare(store, reference, "while a generation is built")
    assert building.result()
    await compare(store, reference, "after the swap")


BUILDER = """
    import asyncio, sys
    from pathlib import Path
    from bascule.plugins.vector_stores.qdrant_edge import EdgeVectorStore

    async def main():
        store = EdgeVectorStore(Path(sys.argv[1]))
        while True:
            building = asyncio.ensure_future(store.build())
            await asyncio.sleep(float(sys.argv[2]))
            print("building", flush=True)
            await building

    asyncio.run(main())
"""


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), *arguments], stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("later_s", [0.0, 1.2] if os.environ.get("BASCULE_TEST_FULL") else [0.0])
async def test_after_kill_9_while_building_the_index_is_whole_and_the_rest_is_swept(
    filled: tuple[Eager, MemoryVectorStore], tmp_path: Path, later_s: float
) -> None:
    store, reference = filled
    await store.close()
    holder = start(BUILDER, str(tmp_path), str(later_s))
    assert holder.stdout is not None
    assert await asyncio.to_thread(holder.stdout.readline)
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    again = EdgeVectorStore(tmp_path, ENGINE_ALWAYS)
    await compare(again, reference, "before holding")
    assert await again.hold()
    await compare(again, reference, "after the kill")
    assert await again.build() and await again.check() == []
    await compare(again, reference, "built anew")
    await again.close()


async def test_nobody_else_may_enter_the_folders(filled: tuple[Eager, MemoryVectorStore], tmp_path: Path) -> None:
    edge = tmp_path / keeping.FOLDER
    whole = list(edge.glob(f"{keeping.WHOLE}*"))
    assert whole and all(folder.stat().st_mode & 0o077 == 0 for folder in (edge, *whole))


async def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("bascule.plugins.vector_stores.qdrant_edge")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "qdrant_edge", None)
    with pytest.raises(ConfigError, match="extra edge"):
        importlib.import_module("bascule.plugins.vector_stores.qdrant_edge")
