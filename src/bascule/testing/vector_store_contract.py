"""What every vector store must do. Subclass `VectorStoreContract`, give the fixture `store`, and pytest runs it.

Scores are compared to six decimals: an engine may add in another order. `agree` runs one random history on two stores.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from bascule.core.vectors import Candidate, Point, RemovesTogether, Scope, VectorStore

DIMENSION = 8
TENANTS = ("north", "south")
COLLECTIONS = ("papers", "mail")
ACLS = (1, 2, 3, 40_000)
# Words that a tokenizer, a collation or a C string would split, fold, cut or refuse.
WORDS = (
    "alpha", "Alpha", "beta", "gamma", "delta", "o'brien", "os.path", "c++", "北京", "naïve", "naive", "a b", '"', "%", "\x00",
    "\ud800", "é", "e\u0301", "NULL", "*", "x" * 64, "-", "0", "",
)  # fmt: skip


def vector(*values: float, dimension: int = DIMENSION) -> bytes:
    """Those values, then zeros, brought to unit length."""
    row = np.zeros(dimension, "<f4")
    row[: len(values)] = values
    return bytes((row / np.linalg.norm(row)).astype("<f4").tobytes())


def point(chunk_id: str, terms: str | Sequence[str] = (), **changes: object) -> Point:
    """A point of tenant `north`, collection `papers`, acl 1; `terms` as a list or as words with blanks between."""
    facts: dict[str, object] = {
        "document_id": "d",
        "tenant": "north",
        "collection_id": "papers",
        "acl_id": 1,
        "vector": vector(1),
        "terms": tuple(terms.split() if isinstance(terms, str) else terms),
    }
    return Point(chunk_id=chunk_id, **(facts | changes))  # type: ignore[arg-type]


def scope(tenant: str = "north", collections: Sequence[str] = COLLECTIONS, allowed: Sequence[int] = ACLS) -> Scope:
    return Scope(tenant=tenant, collection_ids=frozenset(collections), allowed=frozenset(allowed))


def ids(found: Sequence[Candidate]) -> list[str]:
    return [candidate.chunk_id for candidate in found]


class VectorStoreContract:
    async def test_an_empty_store_finds_nothing(self, store: VectorStore) -> None:
        assert await store.dense(vector(1), scope(), 10) == []
        assert await store.lexical(["alpha"], scope(), 10) == []
        assert await store.count("north") == 0
        assert await store.chunk_ids("north") == set()

    async def test_the_nearest_come_first_with_their_cosine(self, store: VectorStore) -> None:
        await store.upsert([point("far", vector=vector(0, 1)), point("near", vector=vector(1, 1)), point("same")])
        found = await store.dense(vector(1), scope(), 10)
        assert ids(found) == ["same", "near", "far"]
        assert [c.score for c in found] == pytest.approx([1, math.sqrt(0.5), 0], abs=1e-6)

    async def test_opposite_vectors_score_minus_one(self, store: VectorStore) -> None:
        await store.upsert([point("against", vector=vector(-1))])
        assert (await store.dense(vector(1), scope(), 10))[0].score == pytest.approx(-1, abs=1e-6)

    async def test_the_lexical_score_is_bm25(self, store: VectorStore) -> None:
        await store.upsert([point("a", "alpha alpha beta"), point("b", "beta"), point("c", "gamma gamma")])
        found = await store.lexical(["alpha"], scope(), 10)
        average = 6 / 3
        idf = math.log(1 + (3 - 1 + 0.5) / (1 + 0.5))
        assert ids(found) == ["a"]
        assert found[0].score == pytest.approx(idf * 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 3 / average)), abs=1e-6)

    async def test_a_term_asked_twice_counts_twice(self, store: VectorStore) -> None:
        await store.upsert([point("a", "alpha beta"), point("b", "gamma")])
        once, twice = [(await store.lexical(["alpha"] * n, scope(), 1))[0].score for n in (1, 2)]
        assert twice == pytest.approx(2 * once)

    async def test_terms_match_exactly_whatever_they_are_made_of(self, store: VectorStore) -> None:
        await store.upsert([point(f"c{n}", [word]) for n, word in enumerate(WORDS)])
        for n, word in enumerate(WORDS):
            assert ids(await store.lexical([word], scope(), 99)) == [f"c{n}"], repr(word)

    async def test_ties_go_by_chunk_id_also_at_the_limit(self, store: VectorStore) -> None:
        names = [f"c{n:02d}" for n in range(30)]
        await store.upsert([point(name, "alpha") for name in reversed(names)])
        assert ids(await store.dense(vector(1), scope(), 7)) == names[:7]
        assert ids(await store.lexical(["alpha"], scope(), 7)) == names[:7]

    @pytest.mark.parametrize(
        "nothing",
        [scope(allowed=()), scope(collections=()), scope("south"), scope("nobody"), scope(collections=["no"])],
    )
    async def test_an_empty_scope_sees_nothing(self, store: VectorStore, nothing: Scope) -> None:
        await store.upsert([point("a", "alpha")])
        assert await store.dense(vector(1), nothing, 10) == []
        assert await store.lexical(["alpha"], nothing, 10) == []

    async def test_another_tenants_chunks_never_appear_nor_weigh(self, store: VectorStore) -> None:
        await store.upsert([point("mine", "alpha beta"), point("also", "gamma")])
        before = await store.lexical(["alpha"], scope(), 10)
        await store.upsert([point(f"theirs{n}", "alpha alpha", tenant="south") for n in range(50)])
        assert await store.lexical(["alpha"], scope(), 10) == before
        assert set(ids(await store.dense(vector(1), scope(), 100))) == {"mine", "also"}
        assert await store.count("north") == 2
        assert await store.chunk_ids("north") == {"mine", "also"}

    async def test_what_is_forbidden_is_left_out_before_the_limit(self, store: VectorStore) -> None:
        await store.upsert([point(f"secret{n:03d}", "alpha alpha", acl_id=2) for n in range(200)])
        await store.upsert([point("open", "alpha beta gamma", vector=vector(1, 5))])
        assert ids(await store.dense(vector(1), scope(allowed=[1]), 3)) == ["open"]
        assert ids(await store.lexical(["alpha"], scope(allowed=[1]), 3)) == ["open"]

    async def test_only_the_collections_asked_for_are_searched(self, store: VectorStore) -> None:
        await store.upsert([point("p", "alpha"), point("m", "alpha", collection_id="mail")])
        for name, expected in (("papers", "p"), ("mail", "m")):
            assert ids(await store.dense(vector(1), scope(collections=[name]), 9)) == [expected]
            assert ids(await store.lexical(["alpha"], scope(collections=[name]), 9)) == [expected]

    async def test_only_the_documents_that_a_filter_chose_are_searched(self, store: VectorStore) -> None:
        for name in ("a", "b", "c"):
            await store.upsert([point(name, "w", document_id=f"doc-{name}", vector=vector(1))])
        for chosen, found in (({"doc-a", "doc-c"}, ["a", "c"]), ({"doc-b", "other"}, ["b"]), (set(), [])):
            asked = msgspec.structs.replace(scope(), documents=frozenset(chosen))
            assert ids(await store.dense(vector(1), asked, 10)) == found
            assert ids(await store.lexical(["w"], asked, 10)) == found

    async def test_upserting_replaces_and_repeating_it_changes_nothing(self, store: VectorStore) -> None:
        old, new = point("a", "alpha"), point("a", "beta", vector=vector(0, 1), acl_id=2, collection_id="mail")
        await store.upsert([old])
        for _ in range(3):
            await store.upsert([new])
            assert await store.lexical(["alpha"], scope(), 9) == []
            assert ids(await store.lexical(["beta"], scope(allowed=[2], collections=["mail"]), 9)) == ["a"]
            assert (await store.dense(vector(0, 1), scope(), 9))[0].score == pytest.approx(1, abs=1e-6)
            assert await store.count("north") == 1

    async def test_the_last_of_two_points_with_one_id_wins(self, store: VectorStore) -> None:
        await store.upsert([point("a", "alpha"), point("a", "beta")])
        assert await store.lexical(["alpha"], scope(), 9) == []
        assert ids(await store.lexical(["beta"], scope(), 9)) == ["a"]

    async def test_a_moved_document_is_seen_by_its_new_readers_only(self, store: VectorStore) -> None:
        await store.upsert([point("a", "alpha"), point("b", "alpha", document_id="other")])
        await store.move("d", 2)
        assert ids(await store.dense(vector(1), scope(allowed=[1]), 9)) == ["b"]
        assert ids(await store.lexical(["alpha"], scope(allowed=[2]), 9)) == ["a"]

    async def test_removed_chunks_are_gone_and_no_longer_weigh(self, store: VectorStore) -> None:
        await store.upsert([point("a", "alpha"), point("b", "beta")])
        before = await store.lexical(["beta"], scope(), 9), await store.dense(vector(1), scope(), 9)
        await store.upsert([point("c", "beta gamma"), point("d", "beta delta")])
        await store.remove(["c", "d", "never there"])
        await store.remove([])
        assert (await store.lexical(["beta"], scope(), 9), await store.dense(vector(1), scope(), 9)) == before
        assert await store.chunk_ids("north") == {"a", "b"}

    async def test_removing_a_document_takes_all_its_chunks_but_those_kept(self, store: VectorStore) -> None:
        points = [point(name, "alpha") for name in ("a", "b", "c")]
        await store.upsert([*points, point("x", "alpha", document_id="other")])
        await store.remove_document("d", keep=frozenset({"b", "x", "unknown"}))
        assert await store.chunk_ids("north") == {"b", "x"}
        for _ in range(2):
            await store.remove_document("d")
        assert ids(await store.lexical(["alpha"], scope(), 9)) == ["x"]

    async def test_a_store_that_removes_together_keeps_each_documents_own(self, store: VectorStore) -> None:
        if not isinstance(store, RemovesTogether):
            return
        owners = {"a": "d", "b": "d", "c": "e", "x": "other"}
        await store.upsert([point(name, "alpha", document_id=owner) for name, owner in owners.items()])
        await store.remove_documents({})
        await store.remove_documents({"d": frozenset({"b", "c"}), "e": frozenset({"a"}), "nobody": frozenset()})
        assert await store.chunk_ids("north") == {"b", "x"}
        assert ids(await store.lexical(["alpha"], scope(), 9)) == ["b", "x"]

    async def test_a_chunk_without_a_vector_is_found_by_words_only(self, store: VectorStore) -> None:
        await store.upsert([point("words", "alpha", vector=None), point("vector", [])])
        assert ids(await store.dense(vector(1), scope(), 9)) == ["vector"]
        assert ids(await store.lexical(["alpha"], scope(), 9)) == ["words"]

    async def test_vectors_of_another_dimension_are_left_alone(self, store: VectorStore) -> None:
        await store.upsert([point("small"), point("large", vector=vector(1, dimension=24), collection_id="mail")])
        assert ids(await store.dense(vector(1), scope(), 9)) == ["small"]
        assert ids(await store.dense(vector(1, dimension=24), scope(), 9)) == ["large"]

    async def test_two_generations_of_a_documents_vectors_are_searched_apart_and_moved_and_removed_together(
        self, store: VectorStore
    ) -> None:
        old, new = point("a", "alpha"), point("a.1", "alpha", vector=vector(1, dimension=24), collection_id="papers.1")
        await store.upsert([old, new])
        assert ids(await store.dense(vector(1, dimension=24), scope(collections=["papers"]), 9)) == []
        await store.move("d", 2)
        for name, dimension, found in (("papers", 8, "a"), ("papers.1", 24, "a.1")):
            own = scope(collections=[name], allowed=[2])
            assert ids(await store.dense(vector(1, dimension=dimension), own, 9)) == [found]
            assert ids(await store.lexical(["alpha"], own, 9)) == [found]
        await store.remove_document("d", keep=frozenset({"a.1"}))
        assert await store.chunk_ids("north") == {"a.1"}
        await store.remove_document("d")
        assert await store.chunk_ids("north") == set()

    @pytest.mark.parametrize("limit", [0, -1])
    async def test_a_limit_of_nothing_gives_nothing(self, store: VectorStore, limit: int) -> None:
        await store.upsert([point("a", "alpha")])
        assert await store.dense(vector(1), scope(), limit) == []
        assert await store.lexical(["alpha"], scope(), limit) == []

    @pytest.mark.parametrize("bad", [b"", b"\x00" * 5, np.full(8, np.nan, "<f4").tobytes(), b"\x00\x00\x80\x7f" * 8])
    async def test_a_vector_without_direction_is_refused_and_nothing_is_written(
        self, store: VectorStore, bad: bytes
    ) -> None:
        from bascule.core.errors import StorageError

        with pytest.raises(StorageError):
            await store.upsert([point("good", "alpha"), point("bad", "alpha", vector=bad)])
        with pytest.raises(StorageError):
            await store.dense(bad, scope(), 9)
        assert await store.count("north") == 0


async def agree(first: VectorStore, second: VectorStore, seed: int, steps: int) -> None:
    """The same random writes to both, and after each the same questions: same ids, same order, same scores."""
    chance = random.Random(seed)
    for step in range(steps):
        method, arguments = _random_write(chance)
        for store in (first, second):
            await getattr(store, method)(*arguments)
        for tenant in TENANTS:
            assert await first.chunk_ids(tenant) == await second.chunk_ids(tenant), (seed, step)
            assert await first.count(tenant) == await second.count(tenant), (seed, step)
        for _ in range(2):
            await _same_answers(first, second, chance, f"seed {seed}, step {step}")


async def _same_answers(first: VectorStore, second: VectorStore, chance: random.Random, where: str) -> None:
    asked = _random_scope(chance)
    limit = chance.choice([1, 3, 10, 100])
    query, words = _random_vector(chance), chance.choices(WORDS, k=chance.randrange(6))
    same(await first.dense(query, asked, limit), await second.dense(query, asked, limit), where)
    same(await first.lexical(words, asked, limit), await second.lexical(words, asked, limit), where)


def same(found: Sequence[Candidate], expected: Sequence[Candidate], where: str) -> None:
    assert ids(found) == ids(expected), where
    assert [c.score for c in found] == pytest.approx([c.score for c in expected], abs=1e-5), where


def _random_write(chance: random.Random) -> tuple[str, tuple[object, ...]]:
    kind = chance.choices(["upsert", "move", "remove", "remove_document"], [6, 2, 1, 1])[0]
    document_id = f"d{chance.randrange(12)}"
    if kind == "upsert":
        return kind, ([_random_point(chance) for _ in range(chance.randrange(1, 16))],)
    if kind == "move":
        return kind, (document_id, chance.choice(ACLS))
    if kind == "remove":
        return kind, ([f"c{n}" for n in chance.sample(range(120), 5)],)
    return kind, (document_id, frozenset(f"c{n}" for n in chance.sample(range(120), chance.choice([0, 60]))))


def _random_point(chance: random.Random) -> Point:
    return Point(
        chunk_id=f"c{chance.randrange(120)}",
        document_id=f"d{chance.randrange(12)}",
        tenant=chance.choice(TENANTS),
        collection_id=chance.choice(COLLECTIONS),
        acl_id=chance.choice(ACLS),
        vector=_random_vector(chance) if chance.random() < 0.8 else None,
        terms=tuple(chance.choices(WORDS, k=chance.randrange(12))),
    )


def _random_scope(chance: random.Random) -> Scope:
    asked = scope(
        chance.choice(TENANTS),
        chance.sample(COLLECTIONS, chance.randrange(len(COLLECTIONS) + 1)),
        chance.sample(ACLS, chance.randrange(len(ACLS) + 1)),
    )
    chosen = frozenset(f"d{n}" for n in chance.sample(range(12), chance.randrange(13)))
    return msgspec.structs.replace(asked, documents=chosen if chance.random() < 0.3 else None)


def _random_vector(chance: random.Random) -> bytes:
    dimension = chance.choice([DIMENSION, DIMENSION, 24])
    return vector(*(chance.gauss(0, 1) for _ in range(dimension)), dimension=dimension)
