"""Documents prepared again by other rules than they were taken in by, over real stores, jobs and parsing children."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bascule.bootstrap import App, init, open_app
from bascule.core.connectors import SourceItem
from bascule.core.documents import Document
from bascule.core.errors import Conflict, ScopeMissing
from bascule.core.principals import Principal, system_principal
from bascule.core.rights import Rights
from bascule.server.collections import CollectionFactsView
from bascule.testing.running import settings_for, until

WHO = system_principal("default")
READER = Principal(tenant="default", subject="ann", scopes=frozenset({"ask", "ingest"}))
PLAIN = "# Bridge\n\nThe bascule bridge opens at noon for tall ships.\n\n## Contact\n\nWrite to ann@example.com for a passage.\n"
NOISE = "# Log\n\n" + "x9 qq7 ## 0x1f zz || 88 ;; k3 " * 30


@asynccontextmanager
async def opened(data: Path, **collection: Any) -> AsyncIterator[App]:
    given = settings_for(
        data,
        rag={"embedding_model": "small", "collections": {"docs": collection}},
        providers={"small": {"kind": "echo"}},
        models={"small": {"targets": [{"provider": "small", "model": "small"}]}},
    )
    await init(given)
    async with open_app(given, work=True) as app:
        yield app


async def settled(app: App) -> None:
    async def ended() -> bool:
        return not await app.catalogue.unfinished_jobs() and not await app.catalogue.index_changes(1)

    await until(ended, 60)


async def take(app: App, **texts: str) -> None:
    assert app.ingest is not None
    items = [SourceItem(external_id=n, name=f"{n}.md", data=text.encode()) for n, text in texts.items()]
    await app.ingest.take(WHO, "docs", items, Rights.of(["public"]))
    await settled(app)


async def texts(app: App, document: Document) -> dict[str, str]:
    return {c.id: c.text for c in await app.catalogue.document_chunks(WHO, document.id)}


async def facts(app: App) -> CollectionFactsView:
    (found,) = await app.catalogue.collection_facts(WHO)
    return CollectionFactsView.of(found, app.settings.rag)


async def test_what_was_kept_is_masked_and_what_stays_as_it_is_keeps_its_id_and_vector(tmp_path: Path) -> None:
    async with opened(tmp_path / "d", redact="keep") as app:
        await take(app, plain=PLAIN)
        (document,) = await app.catalogue.documents(WHO, None, 9, None)
        before = await texts(app, document)
        assert any("ann@example.com" in text for text in before.values())
        kept = await app.catalogue.known_vectors(WHO, document.id, "echo:64")
        assert ((await facts(app)).redact, (await facts(app)).stale) == ("keep", 0)
    async with opened(tmp_path / "d", redact="mask") as app:
        assert app.ingest is not None and app.questions is not None
        seen = await facts(app)
        assert (seen.redact, seen.stale, [(p.redact, p.documents) for p in seen.prepared]) == ("mask", 1, [("keep", 1)])
        with pytest.raises(ScopeMissing):
            await app.ingest.reprocess(READER, "docs")
        job = await app.ingest.reprocess(WHO, "docs", only_stale=True)
        await settled(app)
        assert (await app.catalogue.job(WHO, job.id)).counts == {"indexed": 1}
        after = await texts(app, document)
        assert not any("ann@example.com" in text for text in after.values())
        same = before.keys() & after.keys()
        assert same and len(same) == len(before) - 1
        now = await app.catalogue.known_vectors(WHO, document.id, "echo:64")
        assert all(now[key] == kept[key] for key in same)
        assert (await facts(app)).stale == 0
        (again,) = await app.catalogue.documents(WHO, None, 9, None)
        assert (again.id, again.version, again.title) == (document.id, 2, document.title)
        hits = await app.questions.search(READER, "ann@example.com", collections=["docs"], limit=10)
        assert not any("ann@example.com" in hit.chunk.text for hit in hits)
        with pytest.raises(Conflict):
            await app.ingest.reprocess(WHO, "docs", only_stale=True)


async def test_what_the_new_rules_do_not_let_in_leaves_search_and_says_why(tmp_path: Path) -> None:
    async with opened(tmp_path / "d") as app:
        await take(app, plain=PLAIN, noise=NOISE)
    async with opened(tmp_path / "d", min_quality=0.5) as app:
        assert app.ingest is not None and app.store is not None
        await app.catalogue.pause_jobs(WHO, "collection", "docs")
        cancelled = await app.ingest.reprocess(WHO, "docs")
        await app.catalogue.cancel_job(WHO, cancelled.id)
        states = {d.external_id: (d.state, d.reason) for d in await app.catalogue.documents(WHO, None, 9, None)}
        assert states == {"plain": ("indexed", ""), "noise": ("indexed", "")}, "they are searched as they were"
        await app.catalogue.resume_jobs(WHO, "collection", "docs")
        job = await app.ingest.reprocess(WHO, "docs")
        await settled(app)
        assert (await app.catalogue.job(WHO, job.id)).counts == {"indexed": 1, "failed": 1}
        found = {d.external_id: d for d in await app.catalogue.documents(WHO, None, 9, None)}
        assert (found["noise"].state, found["noise"].chunk_count) == ("failed", 0)
        assert "min_quality" in found["noise"].reason
        assert await texts(app, found["noise"]) == {} and found["plain"].chunk_count
        assert await app.store.chunk_ids("default") == await app.catalogue.live_point_ids("default")
