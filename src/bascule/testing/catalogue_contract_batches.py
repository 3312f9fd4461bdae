"""What every catalogue does with many documents at once: the same as with each alone. On SQLite and on Postgres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bascule.core.catalogue import Catalogue, DocumentCommit, WorkItem
from bascule.core.principals import system_principal
from bascule.testing.catalogue_world import World, admin, chunks_of, new_document, person

ANN = person("ann")


def whole(item: WorkItem, texts: Sequence[str]) -> DocumentCommit:
    return DocumentCommit(
        item=item,
        title=item.name,
        media_type="text/plain",
        chunks=chunks_of(item, texts),
        fingerprint="model-1",
        report={},
        signature=b"12345678" if texts else b"",
    )


async def texts_of(catalogue: Catalogue, document_id: str) -> list[str]:
    chunks = await catalogue.document_chunks(system_principal("acme"), document_id)
    return [chunk.text for chunk in chunks]


class BatchContract:
    async def test_a_batch_commits_its_documents_and_those_replaced_or_deleted_meanwhile_lose(
        self, catalogue: Catalogue
    ) -> None:
        world = World(catalogue)
        before = await world.add("edited", "old", "stays", by=ANN)
        await world.drain()
        names = ("edited", "new", "empty", "deleted", "replaced")
        job = await world.accept(ANN, *(new_document(name, f"{name} now") for name in names))
        items = dict(zip(names, await world.claim(job), strict=True))
        await catalogue.delete_document(ANN, items["deleted"].document_id)
        await world.accept(ANN, new_document("replaced", "later still"))
        await world.drain()
        texts: Mapping[str, Sequence[str]] = {"edited": ("stays", "more"), "empty": ()}
        commits = [whole(item, texts.get(name, (name, "same"))) for name, item in items.items()]
        for _ in range(2):  # a repetition changes nothing
            await catalogue.commit_documents(world.system, commits)
        assert await texts_of(catalogue, before.id) == ["stays", "more"]
        assert await texts_of(catalogue, items["new"].document_id) == ["new", "same"]
        assert await texts_of(catalogue, items["empty"].document_id) == []
        lost = {items["deleted"].document_id, items["replaced"].document_id}
        points = await catalogue.points_of_all([("acme", item.document_id) for item in items.values()])
        assert {key for (_, key), found in points.items() if not found} == lost | {items["empty"].document_id}
        indexed = sorted(items[name].document_id for name in ("edited", "new", "empty"))
        assert await world.drain() == [("index", key) for key in indexed]
        assert (await catalogue.finish_job(world.system, job.id)).counts == {"indexed": 3, "superseded": 2}
        assert (await catalogue.document(admin(), before.id)).version == 2

    async def test_points_of_many_documents_are_those_of_each_in_reading_order(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        made = [await world.add(name, f"{name} z", f"{name} a", by=ANN) for name in ("one", "two")]
        wanted = [("acme", document.id) for document in made] + [("other", made[0].id), ("acme", "nobody")]
        found = await catalogue.points_of_all(wanted)
        assert list(found) == wanted
        for document in made:
            assert found["acme", document.id] == await catalogue.points("acme", document.id)
            texts = [point.indexed_text for point in found["acme", document.id]]
            assert texts == [f"Top\n{document.external_id} z", f"Top\n{document.external_id} a"]
        assert found["other", made[0].id] == found["acme", "nobody"] == []
