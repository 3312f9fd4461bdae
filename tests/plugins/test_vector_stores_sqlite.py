from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import numpy as np
import pytest

from bascule.core.errors import StorageError
from bascule.core.vectors import Point
from bascule.plugins.vector_stores.memory import MemoryVectorStore
from bascule.plugins.vector_stores.sqlite import SqliteVectorStore, index, schema, searching
from bascule.testing.vector_store_contract import ids, point, same, scope, vector


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[SqliteVectorStore]:
    store = SqliteVectorStore(tmp_path)
    yield store
    await store.close()


def random_points(count: int, dimension: int = 64, seed: int = 1) -> list[Point]:
    rng, chance = np.random.default_rng(seed), random.Random(seed)
    rows = rng.standard_normal((count, dimension)).astype("<f4")
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return [
        point(
            f"c{n}",
            [f"w{int(chance.paretovariate(0.6))}" for _ in range(20)],
            vector=row.tobytes(),
            document_id=f"d{n // 10}",
            acl_id=chance.choices([1, 2, 3], [1, 9, 90])[0],
        )
        for n, row in enumerate(rows)
    ]


@pytest.mark.parametrize("allowed", [[1], [1, 2], [1, 2, 3]])
async def test_answers_are_exact_whatever_share_is_visible(store: SqliteVectorStore, allowed: list[int]) -> None:
    points, reference = random_points(3000), MemoryVectorStore()
    await store.upsert(points)
    await reference.upsert(points)
    for n in range(5):
        query, words = random_points(1, seed=100 + n)[0].vector, points[n].terms[:7]
        assert query is not None
        asked = scope(allowed=allowed)
        same(await store.dense(query, asked, 60), await reference.dense(query, asked, 60), f"dense {n}")
        same(await store.lexical(words, asked, 60), await reference.lexical(words, asked, 60), f"lexical {n}")


@pytest.mark.parametrize("large", [1 << 40, -7])
async def test_any_whole_number_may_be_an_acl_id(store: SqliteVectorStore, large: int) -> None:
    await store.upsert([point("small", "alpha", acl_id=1), point("large", "alpha", acl_id=large)])
    for allowed, expected in (([1], ["small"]), ([large], ["large"]), ([5, 1 << 50, -1], [])):
        assert ids(await store.dense(vector(1), scope(allowed=allowed), 9)) == expected
        assert ids(await store.lexical(["alpha"], scope(allowed=allowed), 9)) == expected


async def test_ids_that_no_chunk_carries_are_no_trouble(store: SqliteVectorStore) -> None:
    await store.upsert([point("a", "alpha", acl_id=3)])
    assert ids(await store.dense(vector(1), scope(allowed=[-5, 3, 1 << 50]), 9)) == ["a"]


async def test_searches_over_several_blocks_of_slots_find_every_one(
    store: SqliteVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "SCAN_ROWS", 7)
    count = (1 << 14) + 50
    await store.upsert([point(f"c{n:05d}", "alpha" if n % 4096 == 5 else "beta", vector=None) for n in range(count)])
    expected = [f"c{n:05d}" for n in range(count) if n % 4096 == 5]
    assert ids(await store.lexical(["alpha"], scope(), 99)) == expected
    await store.upsert([point(name, "gamma") for name in expected])
    assert ids(await store.dense(vector(1), scope(), 99)) == expected


async def test_what_was_written_is_there_after_closing_and_opening(tmp_path: Path) -> None:
    first = SqliteVectorStore(tmp_path)
    await first.upsert([point("a", "alpha")])
    await first.close()
    second = SqliteVectorStore(tmp_path)
    assert ids(await second.dense(vector(1), scope(), 9)) == ["a"]
    assert ids(await second.lexical(["alpha"], scope(), 9)) == ["a"]
    await second.close()


async def test_two_stores_on_one_folder_see_each_others_writes_at_once(tmp_path: Path) -> None:
    one, two = SqliteVectorStore(tmp_path), SqliteVectorStore(tmp_path)
    for n in range(5):
        await one.upsert([point(f"one{n}", "alpha")])
        await two.upsert([point(f"two{n}", "alpha", document_id="other")])
        expected = {f"{name}{m}" for name in ("one", "two") for m in range(n + 1)}
        assert set(ids(await one.lexical(["alpha"], scope(), 99))) == expected
        assert set(ids(await two.dense(vector(1), scope(), 99))) == expected
    await two.remove_document("d")
    assert set(ids(await one.dense(vector(1), scope(), 99))) == {f"two{n}" for n in range(5)}
    await asyncio.gather(one.close(), two.close())


async def test_writers_in_one_folder_take_turns_and_lose_nothing(tmp_path: Path) -> None:
    stores = [SqliteVectorStore(tmp_path) for _ in range(3)]
    await asyncio.gather(
        *(
            store.upsert([point(f"{number}-{n}-{m}", f"w{m}") for m in range(5)])
            for number, store in enumerate(stores)
            for n in range(10)
        )
    )
    for store in stores:
        assert await store.count("north") == 150
        assert len(await store.lexical(["w3"], scope(), 999)) == 30
        assert await store.check() == []
        await store.close()


async def test_a_process_that_ends_does_not_take_the_log_away_from_another(tmp_path: Path) -> None:
    """Two connections here, opened one after the other; a writer elsewhere that closes believing itself the last one."""
    one, two = SqliteVectorStore(tmp_path), SqliteVectorStore(tmp_path)
    await one.upsert([point("a", "alpha")])
    await two.upsert([point("b", "alpha")])
    child = start_writer(tmp_path, "child", 1)
    await asyncio.to_thread(child.communicate, timeout=60)
    await one.upsert([point("c", "alpha")])
    third = SqliteVectorStore(tmp_path)
    for store in (one, two, third):
        assert {"a", "b", "c"} < await store.chunk_ids("north")
        assert await store.check() == []
    await asyncio.gather(one.close(), two.close(), third.close())


WRITER = """
    import asyncio, sys
    from pathlib import Path
    from bascule.plugins.vector_stores.sqlite import SqliteVectorStore
    from bascule.testing.vector_store_contract import point, vector

    async def main():
        store = SqliteVectorStore(Path(sys.argv[1]), rest_s=0)
        name = sys.argv[2]
        for n in range(int(sys.argv[3])):
            points = [
                point(f"{name}-{n}-{m}", ["alpha", f"w{m}"], document_id=f"{name}-{n}", vector=vector(1, n, m))
                for m in range(8)
            ]
            await store.upsert(points)
            if n % 3 == 2:
                await store.remove_document(f"{name}-{n - 1}")
            print(n, flush=True)
        await store.close()

    asyncio.run(main())
"""


def start_writer(folder: Path, name: str, rounds: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(folder), name, str(rounds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


async def until(condition: Callable[[], bool], within_s: float = 30) -> None:
    end_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end_s, "it did not happen in time"
        await asyncio.sleep(0.01)


async def test_another_process_reads_and_writes_the_same_folder(tmp_path: Path) -> None:
    store = SqliteVectorStore(tmp_path)
    await store.upsert([point("mine", "alpha", document_id="mine")])
    child = start_writer(tmp_path, "child", 6)
    for n in range(10):
        await store.upsert([point(f"mine{n}", "alpha", document_id="mine")])
        await store.lexical(["alpha"], scope(), 99)
    output, _ = await asyncio.to_thread(child.communicate, timeout=60)
    assert child.returncode == 0 and output.split() == [str(n) for n in range(6)]
    left = {f"child-{n}-{m}" for n in (0, 2, 3, 5) for m in range(8)}
    assert await store.chunk_ids("north") == {"mine", *left, *(f"mine{n}" for n in range(10))}
    assert set(ids(await store.lexical(["alpha"], scope(), 99))) == await store.chunk_ids("north")
    assert await store.check() == []
    await store.close()


@pytest.mark.parametrize("seed", range(4))
async def test_a_writer_killed_at_any_instant_leaves_whole_batches_only(tmp_path: Path, seed: int) -> None:
    """What it acknowledged is there; a batch is there whole or not at all; the next writer goes on."""
    chance = random.Random(seed)
    acknowledged = -1
    for attempt in range(3):
        child = start_writer(tmp_path, f"k{attempt}", 1000)
        assert child.stdout is not None
        for _ in range(chance.randrange(1, 6)):
            acknowledged = int(child.stdout.readline())
        busy_until_s = time.monotonic() + chance.random() * 0.03
        await until(lambda end_s=busy_until_s: time.monotonic() >= end_s)
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
        await check_after_kill(tmp_path, f"k{attempt}", acknowledged)


async def check_after_kill(folder: Path, name: str, acknowledged: int) -> None:
    store = SqliteVectorStore(folder)
    held = {key for key in await store.chunk_ids("north") if key.startswith(f"{name}-")}
    batches = {int(key.split("-")[1]) for key in held}
    assert held == {f"{name}-{n}-{m}" for n in batches for m in range(8)}
    lost = set(range(acknowledged + 1)) - batches
    removable = {n - 1 for n in range(2, acknowledged + 3, 3)}
    assert lost <= removable
    every = await store.chunk_ids("north")
    assert set(ids(await store.lexical(["alpha"], scope(), 99_999))) == every
    assert set(ids(await store.dense(vector(1), scope(), 99_999))) == every
    assert await store.check() == []
    await store.upsert([point(f"after-{name}", "alpha", document_id="after")])
    await store.close()


async def test_a_process_killed_between_vector_and_row_leaves_a_free_slot(
    store: SqliteVectorStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.upsert([point("a", "alpha")])
    with monkeypatch.context() as patch:

        def stop(*_: object) -> None:
            raise sqlite3.OperationalError("stopped after the vectors were written")

        patch.setattr("bascule.plugins.vector_stores.sqlite.writing._digest", stop)
        with pytest.raises(StorageError):
            await store.upsert([point("b", "alpha", vector=vector(0, 1))])
    assert await store.chunk_ids("north") == {"a"}
    await store.upsert([point("c", "alpha", vector=vector(0, 0, 1))])
    assert ids(await store.dense(vector(0, 1), scope(), 1)) == ["a"]
    assert await store.check() == []


async def test_a_freed_slot_rests_before_it_is_used_again(tmp_path: Path) -> None:
    resting, hasty = SqliteVectorStore(tmp_path / "a"), SqliteVectorStore(tmp_path / "b", rest_s=0)
    for store in (resting, hasty):
        await store.upsert([point("old", "alpha")])
        await store.remove(["old"])
        await store.upsert([point("new", "alpha")])
        await store.close()
    assert (slots(tmp_path / "a"), slots(tmp_path / "b")) == ([(0, None), (1, "new")], [(0, "new")])


def slots(folder: Path) -> list[tuple[int, str | None]]:
    connection = sqlite3.connect(folder / index.FILE)
    rows = connection.execute("SELECT slot, chunk_id FROM slot ORDER BY slot").fetchall()
    connection.close()
    return rows


async def test_removed_words_and_vectors_are_not_left_in_the_files(store: SqliteVectorStore, tmp_path: Path) -> None:
    secret = vector(0.3, -0.7, 0.2, 0.9)
    await store.upsert([point("a", "canaryword", vector=secret, document_id="gone"), point("b", "beta")])
    assert any(secret in path.read_bytes() for path in tmp_path.iterdir())
    await store.remove_document("gone")
    for path in tmp_path.iterdir():
        data = path.read_bytes()
        assert b"canaryword" not in data and secret not in data, path.name


async def test_the_event_loop_is_not_held_while_writing(store: SqliteVectorStore) -> None:
    points, turns = random_points(2000, dimension=384), 0
    work = asyncio.create_task(store.upsert(points))
    while not work.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 50


@pytest.mark.parametrize("pattern", ["index.sqlite", "vectors-*.i8", "vectors-*.f32"])
@pytest.mark.parametrize("damage", ["remove", "truncate", "overwrite"])
async def test_damage_is_reported_and_reset_makes_room_for_a_rebuild(tmp_path: Path, pattern: str, damage: str) -> None:
    points = random_points(400)
    store = SqliteVectorStore(tmp_path)
    await store.upsert(points)
    assert await store.check() == []
    await store.close()
    spoil(next(iter(tmp_path.glob(pattern))), damage)
    store = SqliteVectorStore(tmp_path)
    problems = await store.check()
    assert problems
    assert not any(str(tmp_path) in problem for problem in problems)
    await store.reset()
    assert await store.check() == [] and await store.count("north") == 0
    await store.upsert(points)
    assert await store.count("north") == 400 and await store.check() == []
    await store.close()


def spoil(path: Path, damage: str) -> None:
    if damage == "remove":
        path.unlink()
    elif damage == "truncate":
        os.truncate(path, 4096 * 3)
    else:
        data = path.read_bytes()
        path.write_bytes(bytes(b ^ 0x5A for b in data[: len(data) // 2]) + data[len(data) // 2 :])


@pytest.mark.parametrize("pattern", ["vectors-*.i8", "vectors-*.f32"])
async def test_a_write_does_not_paper_over_a_lost_file(tmp_path: Path, pattern: str) -> None:
    store = SqliteVectorStore(tmp_path)
    await store.upsert([point("a", "alpha")])
    next(iter(tmp_path.glob(pattern))).unlink()
    with pytest.raises(StorageError, match="bascule doctor"):
        await store.upsert([point("b", "beta")])
    assert await store.chunk_ids("north") == {"a"}
    await store.close()


async def test_a_search_on_a_damaged_index_says_what_to_do_and_names_no_path(tmp_path: Path) -> None:
    (tmp_path / index.FILE).write_bytes(b"this is not a database at all, " * 200)
    store = SqliteVectorStore(tmp_path)
    for call in (store.dense(vector(1), scope(), 9), store.upsert([point("a")]), store.count("north")):
        with pytest.raises(StorageError, match="bascule doctor") as caught:
            await call
        assert str(tmp_path) not in caught.value.message
    await store.close()


async def test_a_reset_by_one_process_is_noticed_by_the_others(tmp_path: Path) -> None:
    one, two = SqliteVectorStore(tmp_path), SqliteVectorStore(tmp_path)
    await one.upsert([point("old", "alpha")])
    assert ids(await two.dense(vector(1), scope(), 9)) == ["old"]
    await one.reset()
    assert await two.dense(vector(1), scope(), 9) == []
    await two.upsert([point("new", "alpha", vector=vector(1, 1))])
    assert ids(await one.dense(vector(1), scope(), 9)) == ["new"]
    await asyncio.gather(one.close(), two.close())


async def test_an_index_that_is_only_busy_is_not_thrown_away_by_reset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "open_index", lambda path: real_open(path, timeout_s=0.05))
    store = SqliteVectorStore(tmp_path)
    await store.upsert([point("a", "alpha")])
    holder = sqlite3.connect(tmp_path / index.FILE, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="busy"):
        await store.reset()
    holder.execute("ROLLBACK")
    holder.close()
    assert await store.count("north") == 1
    await store.close()


real_open = index.open_index


async def test_nobody_else_may_read_the_files_of_the_index(store: SqliteVectorStore, tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        await store.upsert(random_points(3))
    finally:
        os.umask(old)
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert files and all(file.stat().st_mode & 0o077 == 0 for file in files), [oct(f.stat().st_mode) for f in files]


async def test_words_that_hold_a_zero_are_not_taken_for_the_words_beside_it(store: SqliteVectorStore) -> None:
    for terms in (["a\0b", "c"], ["a", "b\0c"], ["a", "b", "c"], []):
        await store.upsert([point("c1", terms)])
        for word in ("a", "b", "c", "a\0b", "b\0c"):
            assert ids(await store.lexical([word], scope(), 9)) == (["c1"] if word in terms else []), (terms, word)


async def test_only_the_connection_that_writes_keeps_many_pages(store: SqliteVectorStore) -> None:
    await store.upsert(random_points(3))
    read = await store._read(
        lambda: store._index.read(lambda db, _view, _folder: db.execute("PRAGMA cache_size").fetchone())
    )
    written = await store._write(lambda: store._index._connection().execute("PRAGMA cache_size").fetchone())
    assert read == (-schema.READER_PAGES_KB,) and written == (-schema.WRITER_PAGES_KB,)


async def test_points_beyond_one_transaction_are_all_there(
    store: SqliteVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "POINTS_PER_TRANSACTION", 4)
    await store.upsert(random_points(10))
    assert await store.count("north") == 10 and await store.check() == []
