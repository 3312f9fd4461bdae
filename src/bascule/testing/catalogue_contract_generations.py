"""What every catalogue does with generations of vectors: built beside the one in use, switched to whole, given up cleanly."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bascule.core.catalogue import Catalogue
from bascule.core.documents import Document, Job
from bascule.core.errors import Conflict, NotFound, ScopeMissing
from bascule.core.generations import CollectionFacts, EmbeddedBy, Unembedded
from bascule.core.rights import Rights
from bascule.testing.catalogue_world import PUBLIC, VECTOR, World, admin, new_document, person

ANN, OPERATOR = person("ann"), admin()
NEW = EmbeddedBy(model="large", fingerprint="model-2", dimension=3)
OTHER = EmbeddedBy(model="other", fingerprint="model-3", dimension=4)
LONGER = b"\x00\x00\x80?" * 3


async def begun(world: World, *texts: str, wanted: EmbeddedBy = NEW) -> tuple[Document, Job]:
    """One document, its index settled, and a generation under way."""
    document = await world.add("a", *texts, by=ANN, rights=PUBLIC)
    await world.drain()
    return document, await world.catalogue.start_reembed(OPERATOR, "handbook", wanted)


async def lacking(world: World, job: Job, after: str = "") -> list[Unembedded]:
    step = await world.catalogue.reembed_step(world.system, job.id, after, 100)
    assert step is not None
    return list(step.chunks)


async def put(world: World, job: Job, chunks: Sequence[Unembedded], *refused: str) -> None:
    made = {chunk.chunk_id: LONGER for chunk in chunks if chunk.indexed_text not in refused}
    await world.catalogue.put_vectors(world.system, job.id, chunks, made)


async def facts(world: World) -> CollectionFacts:
    (found,) = await world.catalogue.collection_facts(OPERATOR, "handbook")
    return found


class GenerationsContract:
    async def test_the_old_vectors_serve_until_the_switch_and_the_new_ones_after(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        document, job = await begun(world, "one", "two")
        assert (job.kind, job.state, job.counts) == ("reembed", "queued", {"queued": 1})
        chunks = await lacking(world, job)
        assert [chunk.indexed_text for chunk in chunks] == ["Top\none", "Top\ntwo"]
        await put(world, job, chunks[:1])
        assert await world.drain() == [], "the index is owed whole documents"
        assert not await catalogue.switch(world.system, job.id)
        await put(world, job, chunks[1:])
        assert not await catalogue.switch(world.system, job.id), "the index has not followed yet"
        points = await catalogue.points("acme", document.id)
        assert [(p.chunk_id.partition(".")[2], p.vector) for p in points] == [("", VECTOR)] * 2 + [("1", LONGER)] * 2
        assert {p.collection_id for p in points} == {document.collection_id, f"{document.collection_id}.1"}
        assert (await facts(world)).collection.fingerprint == "model-1"
        assert await world.drain() == [("index", document.id)]
        assert await catalogue.switch(world.system, job.id)
        now = await facts(world)
        assert (now.collection.fingerprint, now.collection.dimension, now.collection.model) == ("model-2", 3, "large")
        assert (now.collection.index_id, now.unembedded, now.building) == (f"{document.collection_id}.1", 0, None)
        assert {p.chunk_id for p in await catalogue.points("acme", document.id)} == await catalogue.live_point_ids(
            "acme"
        )
        ended = await catalogue.job(OPERATOR, job.id)
        assert (ended.state, ended.counts, bool(ended.finished_at)) == ("done", {"indexed": 1}, True)

    async def test_what_was_replaced_is_cleared_away_after_a_rest(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        document, job = await begun(world, "one")
        await put(world, job, await lacking(world, job))
        await world.drain()
        assert await catalogue.switch(world.system, job.id)
        assert await catalogue.clear_retired(3600, 10) == 0
        assert await catalogue.known_vectors(world.system, document.id, "model-1") != {}
        assert await catalogue.clear_retired(-1, 10) == 1
        assert await world.drain() == [("trim", document.id)]
        assert await catalogue.known_vectors(world.system, document.id, "model-1") == {}
        assert set((await catalogue.known_vectors(world.system, document.id, "model-2")).values()) == {LONGER}
        assert [await catalogue.clear_retired(-1, 10) for _ in range(2)] == [0, 0]

    async def test_documents_that_come_change_move_or_go_meanwhile_are_right_in_both(
        self, catalogue: Catalogue
    ) -> None:
        world = World(catalogue)
        document, job = await begun(world, "one", "two")
        gone = await world.add("gone", "three", by=ANN, rights=PUBLIC)
        seen = await lacking(world, job)
        (item,) = await world.claim(await world.accept(ANN, new_document("a", "other content")))
        await put(world, job, seen)
        await catalogue.delete_document(ANN, gone.id)
        await put(world, job, seen)
        assert await world.commit(item, "one", "changed")
        new = await world.add("b", "four", by=ANN, rights=PUBLIC)
        left = await lacking(world, job)
        assert [c.indexed_text for c in left] == ["Top\nchanged", "Top\nfour"], "an unchanged chunk keeps its vector"
        await catalogue.set_rights(ANN, document.id, Rights.of(["group:hr"]))
        await put(world, job, [*seen, *left])
        await world.drain()
        assert await catalogue.switch(world.system, job.id)
        for each, number in ((document, 2), (new, 1)):
            points = await catalogue.points("acme", each.id)
            assert [p.vector for p in points] == [LONGER] * number
        assert len({p.acl_id for p in await catalogue.points("acme", document.id)}) == 1
        assert await catalogue.points("acme", gone.id) == []
        assert await catalogue.known_vectors(world.system, gone.id, "model-2") == {}

    async def test_a_commit_that_straddles_the_switch_is_worked_on_again(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        _, job = await begun(world, "one")
        late = await world.accept(ANN, new_document("late", "x", PUBLIC))
        (item,) = await world.claim(late)
        await put(world, job, await lacking(world, job))
        await world.drain()
        assert await catalogue.switch(world.system, job.id)
        assert not await world.commit(item, "x"), "its vectors are of the generation before"
        (again,) = await world.claim(late)
        assert (again.attempts, again.collection.generation) == (1, 1)
        assert await world.commit(again, "x")

    async def test_cancelling_returns_to_the_old_and_is_remembered(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        document, job = await begun(world, "one")
        assert [c.name for c in await catalogue.misfits("model-2")] == [], "it is under way"
        await put(world, job, await lacking(world, job))
        assert (await catalogue.cancel_job(OPERATOR, job.id)).state == "cancelled"
        assert await catalogue.reembed_step(world.system, job.id, "", 9) is None
        await put(world, job, [])
        assert not await catalogue.switch(world.system, job.id)
        assert [p.vector for p in await catalogue.points("acme", document.id)] == [VECTOR]
        assert (await facts(world)).collection.fingerprint == "model-1"
        assert await catalogue.clear_retired(-1, 10) == 1
        assert await catalogue.known_vectors(world.system, document.id, "model-2") == {}
        assert [c.name for c in await catalogue.misfits("model-2")] == [], "nobody asked for it again"
        assert [c.name for c in await catalogue.misfits("model-3")] == ["handbook"]
        second = await catalogue.start_reembed(OPERATOR, "handbook", NEW)
        assert second.id != job.id and len(await lacking(world, second)) == 1

    async def test_a_paused_job_is_not_worked_on(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        _, job = await begun(world, "one")
        chunks = await lacking(world, job)
        await catalogue.pause_job(OPERATOR, job.id)
        assert await catalogue.reembed_step(world.system, job.id, "", 9) is None
        await put(world, job, chunks)
        assert not await catalogue.switch(world.system, job.id)
        await catalogue.resume_job(OPERATOR, job.id)
        assert await lacking(world, job) == chunks, "what came while it was paused was not kept"
        assert [(open_.id, open_.kind) for open_ in await catalogue.unfinished_jobs()] == [(job.id, "reembed")]

    async def test_a_text_that_the_model_refuses_is_left_to_its_words(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        document, job = await begun(world, "one", "two")
        await put(world, job, await lacking(world, job), "Top\ntwo")
        await world.drain()
        assert await catalogue.switch(world.system, job.id)
        assert [p.vector for p in await catalogue.points("acme", document.id)] == [LONGER, None]
        assert (await facts(world)).unembedded == 1
        assert len(await catalogue.known_vectors(world.system, document.id, "model-2")) == 1

    async def test_the_same_model_again_is_the_same_job_and_another_one_waits(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        _, job = await begun(world, "one")
        assert (await catalogue.start_reembed(OPERATOR, "handbook", NEW)).id == job.id
        with pytest.raises(Conflict):
            await catalogue.start_reembed(OPERATOR, "handbook", OTHER)

    async def test_what_is_whole_already_is_refused_but_may_be_pinned(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        await world.add("a", "one", by=ANN, rights=PUBLIC)
        same = EmbeddedBy(model="small", fingerprint="model-1", dimension=2)
        with pytest.raises(Conflict):
            await catalogue.start_reembed(OPERATOR, "handbook", same)
        pinned = EmbeddedBy(model="small", fingerprint="model-1", dimension=2, pinned=True)
        assert (await catalogue.start_reembed(OPERATOR, "handbook", pinned)).state == "done"
        assert (await facts(world)).collection.pin == "small"
        assert await catalogue.misfits("model-2") == []

    async def test_a_failure_is_told_and_a_lost_model_ends_the_job(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        _, job = await begun(world, "one")
        await catalogue.reembed_failed(world.system, job.id, "Not in reach.", give_up=False)
        assert (await catalogue.job(OPERATOR, job.id)).reason == (await facts(world)).reason == "Not in reach."
        await catalogue.reembed_failed(world.system, job.id, "Another model.", give_up=True)
        ended = await catalogue.job(OPERATOR, job.id)
        assert (ended.state, ended.reason) == ("failed", "Another model.")

    async def test_only_an_administrator_of_the_tenant_may(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        await begun(world, "one")
        for act in (catalogue.start_reembed(ANN, "handbook", NEW), catalogue.collection_facts(ANN)):
            with pytest.raises(ScopeMissing):
                await act
        rival = admin("rival")
        for act in (catalogue.start_reembed(rival, "handbook", NEW), catalogue.collection_facts(rival, "handbook")):
            with pytest.raises(NotFound):
                await act
        assert await catalogue.collection_facts(rival) == []
