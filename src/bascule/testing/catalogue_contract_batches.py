"""What every catalogue does with many documents at once: the same as with each alone. On SQLite and on Postgres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from bascule.core.catalogue import Catalogue, DocumentCommit, WorkItem
from bascule.core.principals import system_principal
from bascule.core.rights import Rights
from bascule.core.rights_levels import RightsLevels
from bascule.testing.catalogue_world import World, admin, chunks_of, new_document, person

ANN = person("ann")


class LevelledCatalogue(Catalogue, RightsLevels, Protocol):
    """With rules on folders."""


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

    async def test_a_name_that_comes_twice_in_a_batch_is_one_document_and_the_last_content_counts(
        self, catalogue: Catalogue
    ) -> None:
        world = World(catalogue)
        known = await world.add("known", "as before", by=ANN)
        odd = "odd \udcff\0 name"
        brought = [
            ("new", "1"),
            ("known", "as before"),
            (odd, "2"),
            ("new", "3"),
            ("known", "now"),
            (odd, "2"),
            ("z", ""),
        ]
        job = await world.accept(ANN, *(new_document(name, text) for name, text in brought))
        states = [item.state for item in job.items]
        assert states == ["superseded", "unchanged", "queued", "queued", "queued", "unchanged", "queued"]
        ids = [item.document_id for item in job.items]
        assert (ids[0], ids[1], ids[2]) == (ids[3], ids[4], ids[5])
        assert ids[1] == known.id
        assert len(set(ids)) == 4
        claimed = [item.document_id for item in await world.claim(job)]
        assert claimed == [ids[2], ids[3], ids[4], ids[6]]

    async def test_a_claim_takes_no_more_than_may_be_held_at_once_and_never_nothing(self, catalogue: Catalogue) -> None:
        world = World(catalogue)
        job = await world.accept(ANN, *(new_document(f"{size}", "x" * size) for size in (50, 40, 9, 200, 1)))
        taken = []
        while items := await catalogue.claim(world.system, job.id, 3, 100):
            taken.append([item.name for item in items])
        assert taken == [["50.txt", "40.txt", "9.txt"], ["200.txt"], ["1.txt"]]

    async def test_documents_accepted_together_have_the_rights_of_their_own_folders(
        self, catalogue: LevelledCatalogue
    ) -> None:
        world = World(catalogue)
        await world.collection(rights=Rights.of(["group:all"]))
        staff, board = Rights.of(["group:staff"]), Rights.of(["group:board"])
        await catalogue.set_level(admin(), "folder", "staff/", staff, collection="handbook")
        await catalogue.set_level(admin(), "folder", "closed/", Rights.of([], ["group:staff"]), collection="handbook")
        names = ("staff/a", "closed/b", "staff/c", "closed/d", "e", "closed/f")
        given = {"closed/d": board, "closed/f": staff}
        job = await world.accept(ANN, *(new_document(name, name, given.get(name)) for name in names))
        seen = {}
        for name, item in zip(names, await world.claim(job), strict=True):
            assert await world.commit(item, name)
            seen[name] = await catalogue.document(admin(), item.document_id)
        for group, expected in (
            ("all", ["closed/b", "e"]),
            ("staff", ["staff/a", "staff/c"]),
            ("board", ["closed/d"]),
        ):
            one = person("sue", group)
            assert [name for name in names if await world.sees(one, seen[name])] == expected
