"""What every catalogue does with documents. Subclass `DocumentsContract` with a `catalogue` fixture (see tests/db)."""

from __future__ import annotations

import asyncio

import pytest

from bascule.core.catalogue import Catalogue
from bascule.core.errors import InvalidRequest, NotFound, ScopeMissing
from bascule.core.rights import Rights
from bascule.testing.catalogue_world import (
    PUBLIC,
    VECTOR,
    World,
    admin,
    new_document,
    person,
    service,
    trace_of,
)

ANN, BEN = person("ann"), person("ben")


class AcceptContract:
    async def test_a_document_is_queued_when_accepted_and_served_once_committed(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        job = await world.accept(ANN, new_document("a", "text", PUBLIC))
        assert (job.state, job.counts, job.items[0].name) == ("queued", {"queued": 1}, "a.txt")
        queued = await catalogue.document(ANN, job.items[0].document_id)
        assert (queued.state, queued.version, queued.rights.owner) == ("queued", 0, "ann")
        (item,) = await world.claim(job)
        assert await world.commit(item, "one", "two", title="A title")
        served = await catalogue.document(BEN, item.document_id)
        assert (served.state, served.version, served.chunk_count, served.title) == ("indexed", 1, 2, "A title")
        assert served.report == {"removed": 1}
        done = await catalogue.finish_job(world.system, job.id)
        assert (done.state, done.counts, bool(done.finished_at)) == ("done", {"indexed": 1}, True)
        assert await world.drain() == [("index", item.document_id)]

    async def test_unchanged_content_is_not_worked_on_again_but_its_metadata_follows(
        self, catalogue: Catalogue
    ) -> None:
        world = World(catalogue)
        first = await world.add("a", "text", by=ANN, rights=PUBLIC)
        job = await world.accept(ANN, new_document("a", "text", metadata={"year": 2}))
        assert (job.state, job.counts, job.items[0].document_id) == ("done", {"unchanged": 1}, first.id)
        assert await world.claim(job) == []
        assert (await catalogue.document(ANN, first.id)).metadata == {"year": 2}
        assert await world.sees(BEN, first, {"year": 2})

    async def test_unchanged_content_whose_turn_failed_is_worked_on_again(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        job = await world.accept(ANN, new_document("a", "text"))
        (item,) = await world.claim(job)
        await catalogue.fail_item(world.system, item, "Encrypted.", "encrypted", retry=False, report={})
        failed = await catalogue.document(ANN, item.document_id)
        assert (failed.state, failed.reason) == ("failed", "Encrypted.")
        again = await world.accept(ANN, new_document("a", "text"))
        assert again.counts == {"queued": 1}

    async def test_the_old_version_is_served_until_the_new_one_commits(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        document = await world.add("a", "old", "kept", rights=PUBLIC)
        old = await world.chunk_ids(document)
        (item,) = await world.claim(await world.accept(world.system, new_document("a", "new")))
        assert await world.sees(BEN, document)
        known = await catalogue.known_vectors(world.system, document.id, "model-1")
        assert known == dict.fromkeys(old, VECTOR)
        assert await catalogue.known_vectors(world.system, document.id, "model-2") == {}
        assert await world.commit(item, "kept", "new")
        texts = [chunk.text for chunk in await catalogue.document_chunks(BEN, document.id)]
        assert texts == ["kept", "new"]
        found = await catalogue.check(BEN, old, frozenset({document.collection_id}))
        assert {chunk.text for chunk in found.values()} == {"kept"}
        assert [chunk.version for chunk in found.values()] == [2]

    async def test_only_the_content_accepted_last_may_commit(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        first = await world.accept(ANN, new_document("a", "one"))
        (old,) = await world.claim(first)
        second = await world.accept(ANN, new_document("a", "two"))
        (new,) = await world.claim(second)
        assert old.document_id == new.document_id
        assert await world.commit(new, "two")
        assert not await world.commit(old, "one")
        assert [c.text for c in await catalogue.document_chunks(ANN, new.document_id)] == ["two"]
        assert (await catalogue.job(ANN, first.id)).counts == {"superseded": 1}
        assert (await catalogue.finish_job(world.system, first.id)).state == "done"

    async def test_a_commit_repeated_after_a_crash_changes_nothing(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        (item,) = await world.claim(await world.accept(ANN, new_document("a", "one")))
        assert await world.commit(item, "one")
        await world.drain()
        assert await world.commit(item, "one")
        assert (await catalogue.document(ANN, item.document_id)).version == 1
        assert await world.drain() == []

    async def test_the_same_name_twice_in_one_batch_ends_as_one_document_with_the_later_content(
        self, catalogue: Catalogue
    ) -> None:
        world = World(catalogue)
        job = await world.accept(ANN, new_document("a", "one"), new_document("a", "two"))
        assert job.counts == {"superseded": 1, "queued": 1}
        (item,) = await world.claim(job)
        assert await world.commit(item, "two")
        assert len(await catalogue.documents(ANN, None, 10, None)) == 1

    async def test_a_batch_with_a_bad_right_or_name_is_not_acknowledged_at_all(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        bad = new_document("b", "x", Rights(allow=frozenset({"everyone"})))
        for refused in (bad, new_document("", "x"), new_document("x" * 1001, "x")):
            with pytest.raises(InvalidRequest):
                await world.accept(ANN, new_document("a", "x"), refused)
        assert await catalogue.documents(world.system, None, 10, None) == []
        assert await catalogue.unfinished_jobs() == []

    async def test_text_that_databases_refuse_is_stored_all_the_same(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        document = await world.add(
            "odd\udcff\0name", "text with \0 and \udcff inside", by=ANN, metadata={"k\udcff": "\udcff\0"}
        )
        (chunk,) = await catalogue.document_chunks(ANN, document.id)
        assert "text with" in chunk.text

    async def test_an_empty_document_may_commit(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        document = await world.add("a", by=ANN)
        assert (document.state, document.chunk_count) == ("indexed", 0)
        assert await catalogue.points("acme", document.id) == []

    async def test_collections_are_made_once_and_names_are_checked(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        made = await asyncio.gather(*(world.collection("shared") for _ in range(5)))
        assert len({collection.id for collection in made}) == 1
        again = await catalogue.ensure_collection(ANN, "shared", fingerprint="other", dimension=9, rights=Rights())
        assert (again.fingerprint, again.dimension, again.rights) == ("model-1", 2, PUBLIC)
        for name in ("", "a b", "../x", "a" * 65):
            with pytest.raises(InvalidRequest):
                await world.collection(name)

    async def test_adding_needs_the_ingest_scope(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        collection = await world.collection()
        reader = person("ann", ingest=False)
        with pytest.raises(ScopeMissing):
            await catalogue.accept(reader, collection, [new_document("a", "x")])
        with pytest.raises(ScopeMissing):
            await catalogue.ensure_collection(reader, "mine", fingerprint="", dimension=0, rights=Rights())


class WorkContract:
    async def test_items_are_claimed_once_in_order(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        job = await world.accept(ANN, *(new_document(f"d{n}", f"{n}") for n in range(20)))
        parts = await asyncio.gather(*(world.claim(job, 3) for _ in range(10)))
        names = [item.name for part in parts for item in part]
        assert sorted(names) == sorted(f"d{n}.txt" for n in range(20))
        assert all(item.attempts == 1 for part in parts for item in part)
        assert (await catalogue.job(ANN, job.id)).state == "running"

    async def test_a_transient_failure_is_tried_three_times_then_quarantined(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        job = await world.accept(ANN, new_document("a", "x"))
        for attempt in (1, 2, 3):
            (item,) = await world.claim(job)
            assert item.attempts == attempt
            await catalogue.fail_item(world.system, item, "Timed out.", "timeout", retry=True, report={})
        assert await world.claim(job) == []
        ended = await catalogue.finish_job(world.system, job.id)
        assert (ended.state, ended.counts) == ("failed", {"failed": 1})
        assert (await catalogue.job(ANN, job.id)).items[0].reason == "Timed out."

    async def test_one_failed_document_does_not_fail_the_batch(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        job = await world.accept(ANN, new_document("good", "x"), new_document("bad", "y"))
        good, bad = await world.claim(job)
        await catalogue.fail_item(world.system, bad, "Damaged.", "damaged", retry=False, report={})
        assert (await catalogue.finish_job(world.system, job.id)).state == "running"
        assert await world.commit(good, "x")
        ended = await catalogue.finish_job(world.system, job.id)
        assert (ended.state, ended.counts) == ("done", {"indexed": 1, "failed": 1})
        (listed,) = await catalogue.jobs(ANN, 10)
        assert [(item.name, item.reason) for item in listed.items] == [("bad.txt", "Damaged.")]

    async def test_a_failed_update_leaves_the_old_version_in_search(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        document = await world.add("a", "old", rights=PUBLIC)
        (item,) = await world.claim(await world.accept(world.system, new_document("a", "new")))
        await catalogue.fail_item(world.system, item, "Damaged.", "damaged", retry=False, report={})
        assert (await catalogue.document(BEN, document.id)).state == "failed"
        assert await world.sees(BEN, document)

    async def test_what_a_dead_worker_left_running_is_queued_again_without_blame(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        job = await world.accept(ANN, new_document("a", "x"))
        for _ in range(5):
            (item,) = await world.claim(job)
            assert item.attempts == 1
            assert await catalogue.reset_running() == 1
        assert [(left.tenant, left.id) for left in await catalogue.unfinished_jobs()] == [("acme", job.id)]
        assert await world.commit(item, "x")
        await catalogue.finish_job(world.system, job.id)
        assert await catalogue.unfinished_jobs() == []

    async def test_only_background_work_may_claim_commit_and_fail(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        job = await world.accept(ANN, new_document("a", "x"))
        with pytest.raises(ScopeMissing):
            await catalogue.claim(admin(), job.id, 1)
        (item,) = await world.claim(job)
        with pytest.raises(ScopeMissing):
            await catalogue.commit_document(admin(), item, "t", "text/plain", [], "", {})
        with pytest.raises(ScopeMissing):
            await catalogue.fail_item(admin(), item, "r", "c", retry=False, report={})

    async def test_the_index_is_told_what_it_needs(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        document = await world.add("a", "one", "two", rights=PUBLIC)
        points = await catalogue.points("acme", document.id)
        assert [(p.indexed_text, p.vector, p.collection_id) for p in points] == [
            ("Top\none", VECTOR, document.collection_id),
            ("Top\ntwo", VECTOR, document.collection_id),
        ]
        assert {p.acl_id for p in points} <= await catalogue.readable_acl_ids(BEN)
        assert await catalogue.points("other", document.id) == []
        assert await catalogue.live_documents() == [("acme", document.id)]
        assert await catalogue.live_chunk_ids("acme") == {p.chunk_id for p in points}
        assert await catalogue.live_chunk_ids("other") == set()

    async def test_blobs_live_as_long_as_a_document_or_a_waiting_item_needs_them(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        first = await world.accept(ANN, new_document("a", "one", blob="b1"))
        (item,) = await world.claim(first)
        assert await catalogue.live_blobs() == {"b1"}
        await world.commit(item, "one")
        second = await world.accept(ANN, new_document("a", "two", blob="b2"))
        assert await catalogue.live_blobs() == {"b1", "b2"}
        (newer,) = await world.claim(second)
        await world.commit(newer, "two")
        assert await catalogue.live_blobs() == {"b2"}
        await catalogue.delete_document(ANN, item.document_id)
        assert await catalogue.live_blobs() == set()
        assert await catalogue.blobs_of("acme", item.document_id) == ["b1", "b2"]


class DeletionContract:
    async def test_a_deleted_document_is_gone_at_commit_with_everything_derived_from_it(
        self, catalogue: Catalogue
    ) -> None:
        world = World(catalogue)
        document, other = await world.add("a", "secret", by=ANN), await world.add("b", "else", by=ANN)
        chunk = (await world.chunk_ids(document))[0]
        trace, kept = trace_of(ANN, [document.id, other.id]), trace_of(ANN, [other.id])
        assert await catalogue.save_trace(trace)
        assert await catalogue.save_trace(kept)
        await world.drain()
        mark = await catalogue.deletion_mark()
        await catalogue.delete_document(ANN, document.id)
        for principal in (ANN, admin(), world.system):
            assert await catalogue.check(principal, [chunk], frozenset({document.collection_id})) == {}
            for read in (catalogue.document, catalogue.document_chunks):
                with pytest.raises(NotFound):
                    await read(principal, document.id)
            with pytest.raises(NotFound):
                await catalogue.passage(principal, chunk)
        scrubbed = await catalogue.trace(ANN, trace.id)
        assert (scrubbed.question, scrubbed.answer, scrubbed.scrubbed) == ("", "", True)
        assert [stage.facts for stage in scrubbed.stages] == [{}]
        assert not (await catalogue.trace(ANN, kept.id)).scrubbed
        assert await world.drain() == [("purge", document.id)]
        assert await catalogue.points("acme", document.id) == []
        assert (await catalogue.deletions_since(mark))[1] == [document.id]
        later, none = await catalogue.deletions_since((await catalogue.deletions_since(mark))[0])
        assert (later, none) == (await catalogue.deletion_mark(), [])
        names = [item.name for job in await catalogue.jobs(admin(), 10) for item in job.items]
        assert "a.txt" not in names

    async def test_a_commit_after_the_delete_loses(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        job = await world.accept(ANN, new_document("a", "one"))
        (item,) = await world.claim(job)
        await catalogue.delete_document(ANN, item.document_id)
        assert not await world.commit(item, "one")
        assert (await catalogue.finish_job(world.system, job.id)).counts == {"superseded": 1}
        assert await catalogue.live_chunk_ids("acme") == set()

    async def test_delete_and_commit_at_once_never_leave_a_chunk(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        for n in range(8):
            (item,) = await world.claim(await world.accept(ANN, new_document(f"d{n}", "x")))
            await asyncio.gather(world.commit(item, "x"), catalogue.delete_document(ANN, item.document_id))
            assert await catalogue.points("acme", item.document_id) == []
            assert (await world.drain())[-1] == ("purge", item.document_id)
        assert await catalogue.live_chunk_ids("acme") == set()

    async def test_delete_and_save_trace_at_once_never_leave_its_text(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        for n in range(8):
            document = await world.add(f"d{n}", "secret", by=ANN)
            trace = trace_of(ANN, [document.id], answer="secret")
            saved, _ = await asyncio.gather(catalogue.save_trace(trace), catalogue.delete_document(ANN, document.id))
            if saved:
                assert (await catalogue.trace(ANN, trace.id)).answer == ""
            else:
                with pytest.raises(NotFound):
                    await catalogue.trace(ANN, trace.id)

    async def test_a_trace_that_names_a_deleted_document_is_not_written(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        document = await world.add("a", "x", by=ANN)
        await catalogue.delete_document(ANN, document.id)
        assert not await catalogue.save_trace(trace_of(ANN, [document.id]))

    async def test_the_same_name_after_a_delete_is_a_new_document(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        first = await world.add("a", "x", by=ANN)
        await catalogue.delete_document(ANN, first.id)
        second = await world.add("a", "x", by=BEN)
        assert (second.id != first.id, second.rights.owner) == (True, "ben")

    async def test_only_the_owner_or_an_admin_may_delete_and_others_learn_nothing(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        document = await world.add("a", "x", by=ANN, rights=PUBLIC)
        messages = set()
        for principal, target in (
            (BEN, document.id),
            (BEN, "no-such-id"),
            (admin("other"), document.id),
            (service("k"), document.id),
        ):
            with pytest.raises(NotFound) as caught:
                await catalogue.delete_document(principal, target)
            messages.add(str(caught.value))
        assert len(messages) == 1
        with pytest.raises(ScopeMissing):
            await catalogue.delete_document(person("ann", ingest=False), document.id)
        await catalogue.delete_document(admin(), document.id)


class DocumentsContract(AcceptContract, WorkContract, DeletionContract):
    """All of the above."""
