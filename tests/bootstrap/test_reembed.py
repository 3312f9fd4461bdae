"""A collection embedded anew with another model while it is searched, over real stores, jobs and models that need no network."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bascule.bootstrap import App, init, open_app
from bascule.bootstrap import tending as tending_module
from bascule.core.connectors import SourceItem
from bascule.core.errors import InvalidRequest, UpstreamRejected, UpstreamUnavailable
from bascule.core.principals import Principal, system_principal
from bascule.core.rights import Rights
from bascule.testing.running import settings_for, until

WHO = system_principal("default")
READER = Principal(tenant="default", subject="ann", scopes=frozenset({"ask"}))
STORES = ("sqlite", "memory")


def settings(data: Path, embedding_model: str, **rag: Any) -> Any:
    """Two models, of 64 and 96 values."""
    return settings_for(
        data,
        rag={"embedding_model": embedding_model, **rag},
        providers={"small": {"kind": "echo", "dimension": 64}, "large": {"kind": "echo", "dimension": 96}},
        models={name: {"targets": [{"provider": name, "model": name}]} for name in ("small", "large")},
    )


@asynccontextmanager
async def opened(data: Path, embedding_model: str = "small", **rag: Any) -> AsyncIterator[App]:
    given = settings(data, embedding_model, **rag)
    await init(given)
    async with open_app(given, work=True) as app:
        yield app


async def take(app: App, *names: str) -> None:
    assert app.ingest is not None
    items = [
        SourceItem(external_id=n, name=f"{n}.md", data=f"# {n}\n\nThe {n} bridge opens.\n".encode()) for n in names
    ]
    await app.ingest.take(WHO, "docs", items, Rights.of(["public"]))
    await settled(app)


async def settled(app: App) -> None:
    async def ended() -> bool:
        return not await app.catalogue.unfinished_jobs() and not await app.catalogue.index_changes(1)

    await until(ended, 60)


async def found(app: App, word: str) -> tuple[set[str], list[str]]:
    """Names of the documents a search finds first, and what each was found by."""
    assert app.questions is not None
    hits = await app.questions.search(READER, f"{word} bridge", collections=["docs"], limit=50)
    best = max((h.score for h in hits), default=0)
    return {h.chunk.name for h in hits if h.score == best}, sorted(
        {part for h in hits for part in h.parts} & {"dense", "lexical"}
    )


BOTH = ["dense", "lexical"]


@pytest.mark.parametrize("store", STORES)
async def test_I7_search_goes_on_with_the_old_model_until_the_switch_and_with_the_new_after(
    tmp_path: Path, store: str
) -> None:
    async with opened(tmp_path / "d", vector_store={"kind": store}) as app:
        await take(app, "swing", "lift", "rolling")
        assert app.reembed is not None and app.store is not None
        (before,) = await app.catalogue.collection_facts(WHO)
        await app.catalogue.pause_jobs(WHO, "collection", "docs")
        job = await app.reembed.start(WHO, "docs", "large")
        assert (job.kind, job.state) == ("reembed", "paused")
        assert await found(app, "lift") == ({"lift.md"}, BOTH)
        await app.catalogue.resume_jobs(WHO, "collection", "docs")
        await settled(app)
        (after,) = await app.catalogue.collection_facts(WHO)
        assert (before.collection.dimension, after.collection.dimension, after.unembedded) == (64, 96, 0)
        assert (after.collection.model, after.collection.pin, after.collection.generation) == ("large", "large", 1)
        assert await found(app, "lift") == ({"lift.md"}, BOTH)
        assert (await app.catalogue.job(WHO, job.id)).counts == {"indexed": 3}
        assert len(await app.store.chunk_ids("default")) == 6, "a question under way may still look at the old ones"
        assert await app.catalogue.clear_retired(-1, 100) == 3
        await settled(app)
        assert await app.store.chunk_ids("default") == await app.catalogue.live_point_ids("default")
        await take(app, "bascule")
        assert await found(app, "bascule") == ({"bascule.md"}, BOTH)
        (last,) = await app.catalogue.collection_facts(WHO)
        assert (last.documents, last.unembedded) == (4, 0), (
            "what comes now is embedded with the model of its collection"
        )


async def test_another_model_in_the_configuration_embeds_its_collections_anew_unless_it_says_not_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tending_module, "EVERY_S", 0.02)
    async with opened(tmp_path / "d") as app:
        await take(app, "swing")
    async with opened(tmp_path / "d", "large", reembed_on_change=False) as app:
        assert await found(app, "swing") == ({"swing.md"}, BOTH), "the model it was embedded with is still in reach"
        await take(app, "lift")
        (facts,) = await app.catalogue.collection_facts(WHO)
        assert (facts.collection.dimension, facts.unembedded, facts.building) == (64, 0, None)
    async with opened(tmp_path / "d", "large") as app:

        async def switched() -> bool:
            (facts,) = await app.catalogue.collection_facts(WHO)
            return facts.collection.dimension == 96

        await until(switched, 60)
        assert await found(app, "lift") == ({"lift.md"}, BOTH)
        (facts,) = await app.catalogue.collection_facts(WHO)
        assert (facts.collection.pin, facts.unembedded) == ("", 0)


async def test_without_the_old_model_search_is_by_words_until_the_switch_and_says_so(tmp_path: Path) -> None:
    async with opened(tmp_path / "d") as app:
        await take(app, "swing")
    given = settings_for(
        tmp_path / "d",
        rag={"embedding_model": "large", "reembed_on_change": False},
        providers={"large": {"kind": "echo", "dimension": 96}},
        models={"large": {"targets": [{"provider": "large", "model": "large"}]}},
    )
    async with open_app(given, work=True) as app:
        assert await found(app, "swing") == ({"swing.md"}, ["lexical"])
        assert app.questions is not None and app.reembed is not None
        assert "lexical_only" in (await app.questions.answer(READER, "Which bridge opens?")).degraded
        await take(app, "lift")
        await app.reembed.start(WHO, "docs")
        await settled(app)
        assert await found(app, "lift") == ({"lift.md"}, BOTH)
        assert "lexical_only" not in (await app.questions.answer(READER, "Which bridge opens?")).degraded


class Moody:
    """A model that refuses texts with a word in them, or everything."""

    fingerprint, dimension = "moody:1", 8

    def __init__(self, refused: str = "", error: type[Exception] | None = None) -> None:
        self.refused, self.error = refused, error

    async def embed(self, texts: Any, purpose: str, call: Any) -> tuple[bytes, ...]:
        if self.error is not None:
            raise self.error("down")
        if self.refused and any(self.refused in text for text in texts):
            raise UpstreamRejected("too long")
        return tuple(b"\x00\x00\x80?" + b"\x00" * 28 for _ in texts)


async def test_a_model_that_fails_never_takes_over_and_one_bad_text_does_not_hold_up_the_rest(tmp_path: Path) -> None:
    async with opened(tmp_path / "d") as app:
        await take(app, "swing", "lift")
        assert app.reembed is not None and app.embedders is not None
        with pytest.raises(InvalidRequest):
            await app.reembed.start(WHO, "docs", "nobody")
        moody = app.embedders._opened["moody"] = Moody(error=UpstreamUnavailable)
        job = await app.reembed.start(WHO, "docs", "moody")

        async def told(reason: str) -> bool:
            return (await app.catalogue.job(WHO, job.id)).reason == reason

        await until(lambda: told("down"), 60)
        moody.error, moody.refused = None, "b"  # which is in every text, and in its probe
        await app.jobs.submit(job.kind, job.tenant, job.id)
        await until(lambda: told("too long"), 60)
        assert await found(app, "swing") == ({"swing.md"}, BOTH), "the old vectors serve"
        moody.refused = "lift"
        await app.jobs.submit(job.kind, job.tenant, job.id)
        await settled(app)
        assert (await app.catalogue.job(WHO, job.id)).state == "done"
        (facts,) = await app.catalogue.collection_facts(WHO)
        assert (facts.collection.fingerprint, facts.unembedded) == ("moody:1", 1)
