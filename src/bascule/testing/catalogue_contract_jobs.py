"""What every catalogue does with jobs that are held back, given up and tried again. On SQLite and on Postgres."""

from __future__ import annotations

import asyncio

import pytest

from bascule.core.catalogue import Catalogue, WorkItem
from bascule.core.documents import Job
from bascule.core.errors import Conflict, NotFound, ScopeMissing
from bascule.core.jobs import BULK, PERSON, JobFilter
from bascule.core.rights import Rights
from bascule.testing.catalogue_world import PUBLIC, World, admin, new_document, person, service

ANN, BEN = person("ann"), person("ben")
STAFF = Rights.of(["group:staff"])


async def fail(world: World, item: WorkItem, reason: str = "Damaged.") -> None:
    await world.catalogue.fail_item(world.system, item, reason, "damaged", retry=False, report={})


async def states(world: World, job: Job) -> list[str]:
    return [item.state for item in (await world.catalogue.job(world.system, job.id)).items]


class JobControlContract:
    async def test_a_cancelled_job_gives_up_what_is_not_committed_and_keeps_what_is(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        job = await world.accept(ANN, *(new_document(f"d{n}", f"{n}", PUBLIC) for n in range(3)))
        done, under_way = await world.claim(job, 2)
        assert await world.commit(done, "zero")
        ended = await catalogue.cancel_job(ANN, job.id)
        assert (ended.state, ended.counts) == ("cancelled", {"indexed": 1, "cancelled": 2})
        assert ended.finished_at is not None
        assert not await world.commit(under_way, "too late")
        assert await states(world, job) == ["indexed", "cancelled", "cancelled"]
        assert await world.claim(job) == [] and await catalogue.unfinished_jobs() == []
        assert await catalogue.cancel_job(ANN, job.id) == ended
        late = await catalogue.document(ANN, under_way.document_id)
        assert (late.state, late.chunk_count) == ("failed", 0) and "cancelled" in late.reason
        assert await world.sees(ANN, await catalogue.document(ANN, done.document_id))

    async def test_a_cancelled_document_is_worked_on_when_it_is_sent_again_or_its_job_tried_again(
        self, catalogue: Catalogue
    ) -> None:
        world = World(catalogue)
        job = await world.accept(ANN, new_document("a", "x"), new_document("b", "y"))
        await catalogue.cancel_job(ANN, job.id)
        again = await world.accept(ANN, new_document("a", "x"))
        assert [item.name for item in await world.claim(again)] == ["a.txt"]
        retried = await catalogue.retry_job(ANN, job.id)
        assert (retried.state, retried.finished_at) == ("queued", None)
        assert await states(world, job) == ["cancelled", "queued"], "the newer upload of a is left alone"
        (item,) = await world.claim(job)
        assert item.name == "b.txt" and await world.commit(item, "y")
        assert (await catalogue.finish_job(world.system, job.id)).state == "done"

    async def test_a_commit_and_a_cancel_at_once_end_one_way_or_the_other(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        for turn in range(8):
            job = await world.accept(ANN, new_document(f"t{turn}", f"{turn}"))
            (item,) = await world.claim(job)
            committed, _ = await asyncio.gather(world.commit(item, "x"), catalogue.cancel_job(ANN, job.id))
            document = await catalogue.document(ANN, item.document_id)
            assert await states(world, job) == (["indexed"] if committed else ["cancelled"])
            assert document.state == ("indexed" if committed else "failed")
            assert bool(await world.chunk_ids(document)) == committed

    async def test_a_paused_job_is_not_claimed_from_and_what_is_under_way_ends(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        job = await world.accept(ANN, new_document("a", "x"), new_document("b", "y"))
        (item,) = await world.claim(job, 1)
        assert (await catalogue.pause_job(ANN, job.id)).state == "paused"
        assert (await catalogue.pause_job(ANN, job.id)).state == "paused"
        assert await world.claim(job) == [] and await catalogue.unfinished_jobs() == []
        assert await world.commit(item, "x")
        assert (await catalogue.finish_job(world.system, job.id)).state == "paused"
        assert (await catalogue.resume_job(ANN, job.id)).state == "queued"
        (last,) = await world.claim(job)
        assert await world.commit(last, "y")
        assert (await catalogue.finish_job(world.system, job.id)).state == "done"
        for act in (catalogue.pause_job, catalogue.resume_job, catalogue.cancel_job, catalogue.retry_job):
            with pytest.raises(Conflict):
                await act(ANN, job.id)

    async def test_a_paused_collection_holds_back_its_jobs_and_those_to_come_and_no_others(
        self, catalogue: Catalogue
    ) -> None:
        world, other = World(catalogue), World(catalogue, "other")
        before = await world.accept(ANN, new_document("a", "x"))
        for _ in range(2):
            await catalogue.pause_jobs(admin(), "collection", "handbook")
        after = await world.accept(ANN, new_document("b", "y"))
        elsewhere = await world.accept(ANN, new_document("c", "z"), collection="wiki")
        foreign = await other.accept(other.system, new_document("a", "x"))
        assert {job.id for job in await catalogue.unfinished_jobs()} == {elsewhere.id, foreign.id}
        assert [await world.claim(job) for job in (before, after)] == [[], []]
        shown = await catalogue.jobs(ANN, 10, JobFilter(state="paused"))
        assert [job.id for job in shown] == [after.id, before.id]
        (pause,) = await catalogue.job_pauses(admin())
        assert (pause.kind, pause.name) == ("collection", "handbook") and await catalogue.job_pauses(
            admin("other")
        ) == []
        await catalogue.resume_jobs(admin(), "collection", "handbook")
        assert len(await world.claim(before)) == 1 and await catalogue.job_pauses(admin()) == []

    async def test_a_paused_source_holds_back_its_own_jobs_only(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        await catalogue.pause_jobs(admin(), "source", "source:wiki")
        held = await world.accept(world.system, new_document("a", "x", source="source:wiki"))
        free = await world.accept(ANN, new_document("b", "y", source="upload"))
        assert await world.claim(held) == [] and len(await world.claim(free)) == 1
        assert (await catalogue.job(admin(), held.id)).source == "source:wiki"

    async def test_who_may_not_is_told_so_and_a_foreign_job_is_not_there(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        job = await world.accept(ANN, new_document("a", "x"))
        reader = person("ann", ingest=False)
        for act in (catalogue.cancel_job, catalogue.pause_job, catalogue.resume_job, catalogue.retry_job):
            for stranger in (BEN, admin("other")):
                with pytest.raises(NotFound):
                    await act(stranger, job.id)
            with pytest.raises(ScopeMissing):
                await act(reader, job.id)
        for all_of in (catalogue.pause_jobs, catalogue.resume_jobs):
            with pytest.raises(ScopeMissing):
                await all_of(ANN, "collection", "handbook")
            with pytest.raises(NotFound):
                await all_of(admin(), "collection", "no such")
        with pytest.raises(ScopeMissing):
            await catalogue.job_pauses(ANN)
        assert (await catalogue.job(ANN, job.id)).state == "queued"
        assert (await catalogue.cancel_job(admin(), job.id)).state == "cancelled"

    async def test_the_quarantine_lists_what_was_given_up_and_tries_it_again(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        job = await world.accept(ANN, *(new_document(f"d{n}", f"{n}", PUBLIC) for n in range(3)))
        later = await world.accept(ANN, new_document("w", "w", PUBLIC), collection="wiki")
        for item in [*await world.claim(job), *await world.claim(later)]:
            await fail(world, item)
        for each in (job, later):
            await catalogue.finish_job(world.system, each.id)
        found = await catalogue.quarantine(ANN, 10)
        assert sorted((d.name, d.collection, d.reason, d.attempts) for d in found) == [
            *((f"d{n}.txt", "handbook", "Damaged.", 1) for n in range(3)),
            ("w.txt", "wiki", "Damaged.", 1),
        ]
        assert await catalogue.quarantine(ANN, 2, JobFilter(after=found[1].document_id)) == found[2:]
        (wiki,) = await catalogue.quarantine(ANN, 10, JobFilter(collection="wiki"))
        assert wiki.name == "w.txt" and await catalogue.quarantine(BEN, 10) == []
        (lost,) = [document for document in found if document.name == "d2.txt"]
        await catalogue.delete_document(ANN, lost.document_id)
        assert await catalogue.retry_quarantine(BEN) == 0
        assert await catalogue.retry_quarantine(ANN, JobFilter(collection="handbook")) == 2
        assert [d.name for d in await catalogue.quarantine(ANN, 10)] == ["w.txt"]
        assert [(item.name, item.attempts) for item in await world.claim(job)] == [("d0.txt", 1), ("d1.txt", 1)]

    async def test_names_and_reasons_are_shown_only_to_who_may_read_the_document(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        loader = service("loader")
        job = await world.accept(loader, new_document("a", "x", STAFF, name="merger.txt"))
        (item,) = await world.claim(job)
        await fail(world, item, "The page about the merger is damaged.")
        await catalogue.finish_job(world.system, job.id)
        (own,) = await catalogue.quarantine(loader, 10)
        assert (own.name, own.reason) == ("merger.txt", "The page about the merger is damaged.")
        (seen,) = await catalogue.quarantine(admin(), 10)
        shown = (await catalogue.job(admin(), job.id)).items[0]
        readable = await catalogue.document(admin(), item.document_id)
        assert (seen.name, seen.reason) == (shown.name, shown.reason)
        assert seen.name == readable.name

    async def test_progress_counts_without_items(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        first = await world.accept(ANN, new_document("a", "x"), new_document("b", "y"))
        second = await world.accept(ANN, new_document("c", "z"))
        await world.claim(first, 1)
        shown = await catalogue.job_progress(ANN, 10)
        assert [(job.id, job.counts, job.items) for job in shown] == [
            (second.id, {"queued": 1}, ()),
            (first.id, {"queued": 1, "running": 1}, ()),
        ]
        assert await catalogue.job_progress(ANN, 1, first.id) == [shown[1]]
        assert await catalogue.job_progress(BEN, 10, first.id) == []

    async def test_a_job_knows_its_source_and_what_a_person_waits_for_comes_first(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        await world.accept(world.system, new_document("a", "x", source="source:wiki"))
        await world.accept(ANN, new_document("b", "y", source="upload"))
        found = await catalogue.unfinished_jobs()
        assert [(job.source, job.priority) for job in found] == [("source:wiki", BULK), ("upload", PERSON)]
        assert [job.source for job in await catalogue.jobs(admin(), 10, JobFilter(source="upload"))] == ["upload"]
