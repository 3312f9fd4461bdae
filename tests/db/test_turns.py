"""Whose turn it is: alone as a rule, and in the runner over a real catalogue."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

from bascule.core.jobs import BULK, PERSON, OpenJob
from bascule.db import jobs as runner
from bascule.db.catalogue import connect
from bascule.db.jobs import DurableJobs
from bascule.db.turns import OPEN_TURN, Turns
from bascule.testing.catalogue_world import World, new_document
from bascule.testing.running import until


def job(number: int, tenant: str = "acme", source: str = "upload", priority: int = PERSON) -> OpenJob:
    return OpenJob(tenant=tenant, id=f"{number:04}", source=source, priority=priority)


def served(waiting: list[OpenJob], turns: int) -> list[OpenJob]:
    """With each job served once."""
    rule, left, taken = Turns(), list(waiting), []
    for _ in range(turns):
        taken.append(rule.take(left))
        left.remove(taken[-1])
    return taken


def test_a_tenant_with_a_thousand_jobs_does_not_keep_another_waiting():
    waiting = [job(n) for n in range(1000)] + [job(1000 + n, tenant="small") for n in range(3)]
    first = served(waiting, 6)
    assert Counter(each.tenant for each in first) == {"acme": 3, "small": 3}


def test_a_large_source_does_not_keep_another_source_of_its_tenant_waiting():
    waiting = [job(n, source="source:crawl") for n in range(500)] + [
        job(500 + n, source="source:wiki") for n in range(5)
    ]
    assert Counter(each.source for each in served(waiting, 10)) == {"source:crawl": 5, "source:wiki": 5}


def test_what_a_person_waits_for_comes_before_bulk_and_does_not_stop_it_for_good():
    waiting = [job(n, source="source:crawl", priority=BULK) for n in range(50)] + [job(100 + n) for n in range(50)]
    first = served(waiting, OPEN_TURN * 4)
    assert first[0].source == "upload"
    assert Counter(each.source for each in first)["source:crawl"] in range(1, OPEN_TURN + 1)


def test_jobs_alike_are_served_in_the_order_they_came():
    assert [each.id for each in served([job(3), job(1), job(2)], 3)] == ["0001", "0002", "0003"]


async def test_a_large_job_gives_way_to_others_and_goes_on_and_ended_runs_leave_no_record(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(runner, "PRUNE_EVERY_S", 0.05)
    url = f"sqlite:///{tmp_path}/jobs.sqlite"
    order: list[str] = []
    async with connect(f"sqlite:///{tmp_path}/c.sqlite", f"sqlite:///{tmp_path}/l.sqlite") as catalogue:
        world = World(catalogue)
        large = await world.accept(world.system, *(new_document(f"l{n}", f"{n}", source="source:x") for n in range(30)))
        small = await world.accept(world.system, new_document("s", "s", source="upload"))
        jobs = DurableJobs(
            url,
            tmp_path / "jobs.lock",
            catalogue.unfinished_jobs,
            catalogue.reset_running,
            sweep_every_s=0.02,
            max_concurrent=1,
        )

        async def handle(tenant: str, job_id: str) -> None:
            while items := await catalogue.claim(world.system, job_id, 1):
                await world.commit(items[0], "x")
                order.append(items[0].name)
                await asyncio.sleep(0.01)
                if jobs.gives_way(job_id):
                    break
            await catalogue.finish_job(world.system, job_id)

        jobs.register("ingest", handle)
        await jobs.launch()
        late = None
        try:
            await until(lambda: len(order) >= 5, 30)
            late = await world.accept(world.system, new_document("t", "t", source="upload"))

            async def done() -> bool:
                return not await catalogue.unfinished_jobs()

            await until(done, 30)
            assert order[0] == "s.txt", "a person's upload comes before an older crawl"
            assert order.index("t.txt") < 25, "and one that comes later need not wait for the crawl's end"
            assert len(order) == 32 and len(set(order)) == 32
            for each in (large, small, late):
                assert (await catalogue.job(world.system, each.id)).state == "done"

            def runs() -> int:
                with closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as connection:
                    return int(connection.execute("SELECT count(*) FROM workflow_status").fetchone()[0])

            await until(lambda: runs() == 0, 30)
        finally:
            await jobs.close()
