"""Durable jobs in real processes: killed, resumed by other code, taken over, and shared by two processes of one folder."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from bascule.core.catalogue import JobHandler
from bascule.core.errors import ConfigError, StorageError
from bascule.core.jobs import OpenJob
from bascule.db.catalogue import SqlCatalogue, connect
from bascule.db.jobs import DurableJobs
from bascule.testing.catalogue_world import World, admin, new_document
from bascule.testing.postgres import server

# One process of a folder. `HANDLER` differs between the processes of a test: it is the job code that changes.
PROCESS = """
import asyncio, os, signal, sys
from pathlib import Path
from bascule.db.catalogue import connect
from bascule.db.jobs import DurableJobs
from bascule.testing.catalogue_world import World

folder = Path(sys.argv[1])

HANDLER

async def main():
    async with connect(f"sqlite:///{folder}/c.sqlite", f"sqlite:///{folder}/l.sqlite") as catalogue:
        jobs = DurableJobs(
            f"sqlite:///{folder}/jobs.sqlite", folder / "jobs.lock", catalogue.unfinished_jobs, catalogue.reset_running
        )
        world = World(catalogue)
        jobs.register("ingest", lambda tenant, job_id: handle(world, job_id))
        await jobs.launch()
        print(jobs.state, flush=True)
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await stop.wait()
        await jobs.close()

asyncio.run(main())
"""

ONE_BY_ONE = """
async def handle(world, job_id):
    while items := await world.catalogue.claim(world.system, job_id, 1):
        await world.commit(items[0], "by the new code")
    await world.catalogue.finish_job(world.system, job_id)
"""

AS_BATCHES = """
async def handle(world, key):
    batch = await world.catalogue.claim(world.system, key, 3)
    for item in batch:
        await world.commit(item, "by the new code")
    await (handle(world, key) if batch else world.catalogue.finish_job(world.system, key))
"""

HANGS_AFTER_TWO = """
async def handle(world, job_id):
    done = 0
    while items := await world.catalogue.claim(world.system, job_id, 3):
        for item in items:
            if done == 2:
                print("hanging", flush=True)
                await asyncio.sleep(3600)
            await world.commit(item, "by the old code")
            done += 1
"""


class Process:
    def __init__(self, folder: Path, handler: str) -> None:
        code = PROCESS.replace("HANDLER", handler)
        self.child = subprocess.Popen(
            [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    async def line(self) -> str:
        assert self.child.stdout
        return (await asyncio.wait_for(asyncio.to_thread(self.child.stdout.readline), 60)).strip()

    async def end(self, signal_number: int) -> str:
        """What it wrote to stderr."""
        if self.child.poll() is None:
            os.kill(self.child.pid, signal_number)
        _, errors = await asyncio.to_thread(self.child.communicate, timeout=60)
        return errors


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Process]]:
    begun: list[Process] = []

    def begin(handler: str) -> Process:
        begun.append(Process(tmp_path, handler))
        return begun[-1]

    yield begin
    for process in begun:
        process.child.kill()
        process.child.communicate()


@pytest.fixture
async def catalogue(tmp_path: Path) -> AsyncGenerator[SqlCatalogue]:
    async with connect(f"sqlite:///{tmp_path}/c.sqlite", f"sqlite:///{tmp_path}/l.sqlite") as opened:
        yield opened


async def accept(catalogue: SqlCatalogue, count: int, name: str = "d") -> str:
    world = World(catalogue)
    return (await world.accept(world.system, *(new_document(f"{name}{n}", f"{n}") for n in range(count)))).id


async def ended(catalogue: SqlCatalogue, job_id: str) -> dict[str, int]:
    """The job's counts once it has ended."""
    last = time.monotonic() + 60
    while (job := await catalogue.job(admin(), job_id)).finished_at is None:
        assert time.monotonic() < last, job.counts
        await asyncio.sleep(0.05)
    return dict(job.counts)


def workflows(folder: Path) -> dict[str, str]:
    """Workflow id -> status."""
    with closing(sqlite3.connect(folder / "jobs.sqlite")) as connection:
        return dict(connection.execute("SELECT workflow_uuid, status FROM workflow_status").fetchall())


async def workflow_ended(folder: Path, workflow_id: str) -> str:
    last = time.monotonic() + 60
    while (status := workflows(folder)[workflow_id]) in ("PENDING", "ENQUEUED"):
        assert time.monotonic() < last
        await asyncio.sleep(0.05)
    return status


@pytest.mark.parametrize("handler", [ONE_BY_ONE, AS_BATCHES])
async def test_a_job_killed_in_the_middle_is_resumed_by_the_next_process_whatever_its_code(
    tmp_path: Path, catalogue: SqlCatalogue, start: Callable[[str], Process], handler: str
) -> None:
    job_id = await accept(catalogue, 7)
    first = start(HANGS_AFTER_TWO)
    assert [await first.line(), await first.line()] == ["worker", "hanging"]
    await first.end(signal.SIGKILL)
    assert (await catalogue.job(admin(), job_id)).counts == {"indexed": 2, "running": 1, "queued": 4}
    ((interrupted, status),) = workflows(tmp_path).items()
    assert (interrupted.partition(".")[0], status) == (job_id, "PENDING")

    second = start(handler)
    assert await second.line() == "worker"
    assert await ended(catalogue, job_id) == {"indexed": 7}
    assert await workflow_ended(tmp_path, interrupted) == "SUCCESS", "DBOS itself resumes what was interrupted"
    assert await second.end(signal.SIGTERM) == ""
    texts = [
        chunk.text
        for document in await catalogue.documents(admin(), None, 10, None)
        for chunk in await catalogue.document_chunks(admin(), document.id)
    ]
    assert sorted(texts) == ["by the new code"] * 5 + ["by the old code"] * 2
    assert len(await catalogue.index_changes(100)) == 7, "every document was committed once"


async def test_only_ids_are_stored_as_json_and_nothing_is_pickled(
    tmp_path: Path, catalogue: SqlCatalogue, start: Callable[[str], Process]
) -> None:
    job_id = await accept(catalogue, 1)
    process = start(ONE_BY_ONE)
    await process.line()
    await ended(catalogue, job_id)
    await process.end(signal.SIGTERM)
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as connection:
        stored = "\n".join(connection.iterdump())
    assert f'{{"namedArgs":{{}},"positionalArgs":["ingest","acme","{job_id}"]}}' in stored
    assert "pickle" not in stored
    assert "gASV" not in stored, "how a pickle in base64 begins"


async def test_one_process_of_a_folder_works_and_another_takes_over_when_it_dies(
    catalogue: SqlCatalogue, start: Callable[[str], Process]
) -> None:
    worker = start(HANGS_AFTER_TWO)
    assert await worker.line() == "worker"
    standby = start(ONE_BY_ONE)
    assert await standby.line() == "standby"
    job_id = await accept(catalogue, 5)  # by a third process: this one
    assert await worker.line() == "hanging"
    await worker.end(signal.SIGKILL)
    assert await ended(catalogue, job_id) == {"indexed": 5}
    later = await accept(catalogue, 3, "later")
    assert await ended(catalogue, later) == {"indexed": 3}
    assert await standby.end(signal.SIGTERM) == ""


async def test_a_job_accepted_beside_a_running_worker_is_done_by_the_worker(
    tmp_path: Path, catalogue: SqlCatalogue, start: Callable[[str], Process]
) -> None:
    worker = start(ONE_BY_ONE)
    assert await worker.line() == "worker"

    async def never(_tenant: str, _job_id: str) -> None:
        raise AssertionError("this process must not work")

    async with running(tmp_path, catalogue, never) as jobs:
        assert jobs.state == "standby"
        job_id = await accept(catalogue, 2)
        await jobs.submit("ingest", "acme", job_id)
        assert await ended(catalogue, job_id) == {"indexed": 2}


@asynccontextmanager
async def running(
    folder: Path, catalogue: SqlCatalogue, handler: JobHandler, url: str = ""
) -> AsyncGenerator[DurableJobs]:
    jobs = DurableJobs(
        url or f"sqlite:///{folder}/jobs.sqlite",
        folder / "jobs.lock",
        catalogue.unfinished_jobs,
        catalogue.reset_running,
        sweep_every_s=0.05,
    )
    jobs.register("ingest", handler)
    await jobs.launch()
    try:
        yield jobs
    finally:
        await jobs.close()
    assert jobs.state == "idle"


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
async def test_jobs_run_on_either_engine_and_a_failing_one_is_tried_again(
    tmp_path: Path, catalogue: SqlCatalogue, engine: str
) -> None:
    world, tries = World(catalogue), []

    async def handle(_tenant: str, job_id: str) -> None:
        tries.append(job_id)
        if len(tries) == 1:
            raise StorageError("not now")
        if len(tries) == 2:
            raise ValueError("a mistake in a handler")
        for item in await catalogue.claim(world.system, job_id, 10):
            await world.commit(item, "x")
        await catalogue.finish_job(world.system, job_id)

    url = server().new_database() if engine == "postgres" else ""
    async with running(tmp_path, catalogue, handle, url) as jobs:
        job_id = await accept(catalogue, 2)
        await jobs.submit("ingest", "acme", job_id)
        assert await ended(catalogue, job_id) == {"indexed": 2}
    assert tries == [job_id] * 3


async def test_closing_stops_a_running_handler_and_its_job_goes_on_later(
    tmp_path: Path, catalogue: SqlCatalogue
) -> None:
    world, begun = World(catalogue), asyncio.Event()
    job_id = await accept(catalogue, 1)

    async def hang(_tenant: str, job_id: str) -> None:
        await catalogue.claim(world.system, job_id, 1)
        begun.set()
        await asyncio.Event().wait()

    async def finish(_tenant: str, job_id: str) -> None:
        for item in await catalogue.claim(world.system, job_id, 1):
            await world.commit(item, "x")
        await catalogue.finish_job(world.system, job_id)

    async with running(tmp_path, catalogue, hang):
        await asyncio.wait_for(begun.wait(), 30)
    async with running(tmp_path, catalogue, finish):
        assert await ended(catalogue, job_id) == {"indexed": 1}


async def test_a_job_never_runs_beside_itself_in_one_process(tmp_path: Path, catalogue: SqlCatalogue) -> None:
    world, at_once, most = World(catalogue), 0, 0

    async def handle(_tenant: str, job_id: str) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.2)
        for item in await catalogue.claim(world.system, job_id, 1):
            await world.commit(item, "x")
        await catalogue.finish_job(world.system, job_id)
        at_once -= 1

    job_id = await accept(catalogue, 1)
    async with running(tmp_path, catalogue, handle) as jobs:
        for _ in range(5):
            await jobs.submit("ingest", "acme", job_id)
            await asyncio.sleep(0.02)
        await ended(catalogue, job_id)
    assert most == 1


async def test_two_folders_in_one_process_both_work(tmp_path: Path, catalogue: SqlCatalogue) -> None:
    (tmp_path / "other").mkdir()
    world = World(catalogue)

    async def handle(_tenant: str, job_id: str) -> None:
        for item in await catalogue.claim(world.system, job_id, 1):
            await world.commit(item, "x")
        await catalogue.finish_job(world.system, job_id)

    async def nothing() -> list[OpenJob]:
        return []

    first = DurableJobs(f"sqlite:///{tmp_path}/other/j.sqlite", tmp_path / "other" / "lock", nothing, nothing)
    first.register("ingest", handle)
    await first.launch()
    async with running(tmp_path, catalogue, handle):
        assert await ended(catalogue, await accept(catalogue, 1)) == {"indexed": 1}
    await first.close()


async def test_launching_without_a_handler_or_a_folder_is_refused(tmp_path: Path, catalogue: SqlCatalogue) -> None:
    url, missing = f"sqlite:///{tmp_path}/j.sqlite", tmp_path / "missing" / "lock"
    jobs = DurableJobs(url, missing, catalogue.unfinished_jobs, catalogue.reset_running)
    with pytest.raises(ConfigError):
        await jobs.launch()
    jobs.register("ingest", lambda *_: asyncio.sleep(0))
    with pytest.raises(ConfigError):
        await jobs.launch()
    await jobs.close()
