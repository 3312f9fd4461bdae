"""Several processes over one state file: exact limits, and nothing lost or stuck when one of them is killed."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

from bascule.plugins.state_stores.sqlite.store import SqliteState
from bascule.testing.state_store_contract import claim

ADMITS = """
import asyncio, sys
from pathlib import Path
from bascule.plugins.state_stores.sqlite.store import SqliteState
async def main():
    store = await SqliteState.open(Path(sys.argv[1]), timeout_s=30)
    print("ready", flush=True)
    sys.stdin.readline()
    results = await asyncio.gather(*(store.admit("k", 10, 86400) for _ in range(500)))
    print(sum(r.admitted for r in results), flush=True)
    await store.aclose()
asyncio.run(main())
"""
WRITES = """
import asyncio, sys
from pathlib import Path
from bascule.core.state import Claim
from bascule.plugins.state_stores.sqlite.store import SqliteState
async def main():
    store = await SqliteState.open(Path(sys.argv[1]))
    held = Claim(key="k", amount=100, limit=100, window_s=86400, name="k")
    await store.reserve([held], lease_s=2.0)
    await store.lease("leader", 2.0)
    await store.put("before", b"kept", 600)
    print("ready", flush=True)
    n = 0
    while True:
        n += 1
        await asyncio.gather(*(store.put(f"{n}-{i}", bytes(5000), 600, ["doc"]) for i in range(20)))
asyncio.run(main())
"""


async def start(source: str, path: Path) -> Process:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", source, str(path), stdin=PIPE, stdout=PIPE)
    return process


async def line(process: Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip()


async def test_two_processes_with_a_thousand_calls_at_a_limit_of_ten_admit_exactly_ten(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    both = await asyncio.gather(start(ADMITS, path), start(ADMITS, path))
    assert [await line(process) for process in both] == ["ready", "ready"]
    for process in both:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
    assert sum([int(await line(process)) for process in both]) == 10
    assert await asyncio.gather(*(process.wait() for process in both)) == [0, 0]


async def test_what_a_killed_process_held_comes_back_and_the_file_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    process = await start(WRITES, path)
    assert await line(process) == "ready"
    process.kill()  # SIGKILL, in the middle of its writes
    await process.wait()
    store = await SqliteState.open(path)
    assert await store.get("before") == b"kept"
    async with asyncio.timeout(10):
        while not (await store.reserve([claim("k", 100, 100, 86_400)], lease_s=30))[1].admitted:
            await asyncio.sleep(0.05)
        while (await store.lease("leader", 5)).state != "mine":
            await asyncio.sleep(0.05)
    await store.aclose()
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    sizes = db.execute(
        "SELECT (SELECT sum(size_bytes) FROM entries), (SELECT value FROM meta WHERE name = 'size_bytes')"
    )
    assert len(set(sizes.fetchone())) == 1
    db.close()
