"""What the second wall costs: row-level security of a real Postgres, on against off, in turns within one run.

    python bench/bench_wall.py [--documents 500] [--rounds 6] [--asks 30] [--json FILE]

Processor time of a question, ours and that of Postgres's processes. Off: no policies, no role, no `SET LOCAL`; the queries ask for
tenant and rights as ever. The login is a plain owner of the tables, as it should be in production. No embedding model is used.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bascule.bootstrap import App, init, open_app
from bascule.core.connectors import SourceItem
from bascule.core.principals import Principal, system_principal
from bascule.core.rights import Rights
from bascule.db.wall import TABLES
from bascule.testing.postgres import server
from bascule.testing.running import settings_for, until

OPERATOR = system_principal("default")
ASKER = Principal(tenant="default", subject="ann", groups=frozenset({f"g{n}" for n in range(20)}))
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def of_postgres_s() -> float:
    """Of the server and all its processes, the ended ones too."""
    leader = server()._process.pid
    children = Path(f"/proc/{leader}/task/{leader}/children").read_text().split()
    total = 0
    for pid in [str(leader), *children]:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[11:13])) + (sum(map(int, fields[13:15])) if pid == str(leader) else 0)
    return total * TICK_S


async def fill(app: App, documents: int) -> None:
    assert app.ingest is not None
    for group in range(10):
        texts = [
            f"Depot {n} of line {n % 17} closes at {n % 24}:30 and the harbour opens at {n % 12}."
            for n in range(documents // 10)
        ]
        items = [SourceItem(external_id=f"{group}-{n}", name="a.txt", data=t.encode()) for n, t in enumerate(texts)]
        job, _ = await app.ingest.take(OPERATOR, "c", items, Rights.of([f"group:g{group}"], ["user:ben"]))

        async def done(job_id: str = job.id) -> bool:
            return (await app.catalogue.job(OPERATOR, job_id)).finished_at is not None

        await until(done, 600, 0.1)


async def switch(app: App, on: bool, real: Callable[..., Awaitable[Any]]) -> None:
    database = app.catalogue._database
    words = ("ENABLE", "FORCE") if on else ("DISABLE", "NO FORCE")
    change = "; ".join(f"ALTER TABLE {t} {w} ROW LEVEL SECURITY" for t in TABLES for w in words)
    await database.write(lambda c: c.execute(sa.text(change)))
    database.walled = on
    database.read = real if on else functools.partial(real, walled=True)  # type: ignore[method-assign]


async def measured(ask: Callable[[int], Awaitable[Any]], asks: int) -> tuple[float, float]:
    for n in range(5):
        await ask(n)
    own, theirs = time.process_time(), of_postgres_s()
    for n in range(asks):
        await ask(n)
    return (time.process_time() - own) / asks * 1e3, (of_postgres_s() - theirs) / asks * 1e3


async def main(options: argparse.Namespace) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_for(Path(folder) / "data", catalogue={"url": server().new_database(owner="bascule_bench")})
        await init(settings)
        async with open_app(settings, work=True) as app:
            await fill(app, options.documents)
            assert await app.catalogue.wall() == "stands" and app.questions is not None
            questions, real = app.questions, app.catalogue._database.read
            kinds: dict[str, Callable[[int], Awaitable[Any]]] = {
                "search, 10 passages": lambda n: questions.search(ASKER, f"when does depot {n} close", limit=10),
                "answer, extractive": lambda n: questions.answer(
                    ASKER, f"When does depot {n} close?", model="extractive"
                ),
                "list of 100 documents": lambda n: app.catalogue.documents(ASKER, "c", 100, None),
            }
            found: dict[tuple[str, bool], list[tuple[float, float]]] = {}
            for _ in range(options.rounds):
                for on in (True, False):
                    await switch(app, on, real)
                    for kind, ask in kinds.items():
                        found.setdefault((kind, on), []).append(await measured(ask, options.asks))
            await switch(app, True, real)
    return [row(kind, found[kind, True], found[kind, False]) for kind in kinds]


def row(kind: str, on: list[tuple[float, float]], off: list[tuple[float, float]]) -> dict[str, Any]:
    """The median of the rounds; the ratio is of the sums, paired round by round."""
    median = statistics.median
    return {
        "asked": kind,
        "ours_on_ms": median(a for a, _ in on),
        "ours_off_ms": median(a for a, _ in off),
        "postgres_on_ms": median(b for _, b in on),
        "postgres_off_ms": median(b for _, b in off),
        "ratio": median(sum(a) / sum(b) for a, b in zip(on, off, strict=True)),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--documents", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--asks", type=int, default=30)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = asyncio.run(main(options))
    print(f"{'CPU of one, ms':24} {'ours':>16} {'Postgres':>18} {'whole':>7}")
    print(f"{'':24} {'on':>8} {'off':>7} {'on':>10} {'off':>7} {'ratio':>7}")
    for r in rows:
        ours = f"{r['ours_on_ms']:8.2f} {r['ours_off_ms']:7.2f}"
        print(f"{r['asked']:24} {ours} {r['postgres_on_ms']:10.2f} {r['postgres_off_ms']:7.2f} {r['ratio']:7.2f}")
    if options.json:
        options.json.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
