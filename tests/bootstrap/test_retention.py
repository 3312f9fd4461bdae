"""Documents that nobody has changed for too long are deleted as any other, or held back where that looks like a mistake."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bascule.bootstrap import App, init, open_app
from bascule.bootstrap.deletions import ledger_of
from bascule.core.connectors import SourceItem
from bascule.core.errors import ScopeMissing
from bascule.core.principals import Principal, system_principal
from bascule.core.rights import Rights
from bascule.rag.retention import Keeping, Retention
from bascule.settings import Exact
from bascule.testing.running import settings_for, until

WHO = system_principal("default")
READER = Principal(tenant="default", subject="ann", scopes=frozenset({"ask"}))


class Clock:
    """So many days from now."""

    def __init__(self) -> None:
        self.days = 0.0

    def __call__(self) -> datetime:
        return datetime.now(UTC) + timedelta(days=self.days)


@asynccontextmanager
async def opened(data: Path) -> AsyncIterator[tuple[App, Retention, Clock]]:
    given = settings_for(data, rag={"embedding_model": None, "collections": {"docs": {"retention_days": 30}}})
    await init(given)
    async with open_app(given, work=True) as app:
        assert app.ingest is not None
        clock = Clock()
        rules = {"docs": Keeping(30, 0.2)}
        yield app, Retention(catalogue=app.catalogue, settle=app.ingest.settle, rules=rules, now=clock), clock


async def take(app: App, *names: str, text: str = "opens at noon") -> None:
    assert app.ingest is not None
    items = [SourceItem(external_id=n, name=f"{n}.txt", data=f"The {n} bridge {text}.".encode()) for n in names]
    await app.ingest.take(WHO, "docs", items, Rights.of(["public"]))

    async def ended() -> bool:
        return not await app.catalogue.unfinished_jobs() and not await app.catalogue.index_changes(1)

    await until(ended, 60)


async def names(app: App) -> set[str]:
    return {d.external_id for d in await app.catalogue.documents(WHO, None, 99, None)}


async def test_what_has_not_changed_for_too_long_is_deleted_with_all_that_came_of_it(tmp_path: Path) -> None:
    async with opened(tmp_path / "d") as (app, retention, clock):
        await take(app, "swing", "lift", "rolling")
        (old,) = [d.id for d in await app.catalogue.documents(WHO, None, 9, None) if d.external_id == "swing"]
        assert await retention.run() == []
        clock.days = 29
        assert await retention.run() == [] and len(await names(app)) == 3
        clock.days = 31
        assert app.questions is not None and app.store is not None and app.ingest is not None
        await app.catalogue.set_rights(WHO, old, Rights.of(["public", "group:x"]))
        (report,) = await retention.run()
        assert (report.deleted, report.held_back) == (3, 0), "new rights are no change of the content"
        assert await names(app) == set() and await app.store.chunk_ids("default") == set()
        assert await app.questions.search(READER, "bridge", limit=9) == []
        assert old in ledger_of(app.settings).entries()
        acts = [row.act for row in await app.catalogue.audit_rows(WHO, 50)]
        assert acts.count("document.expire") == 3


async def test_a_document_that_changes_while_it_is_being_expired_stays(tmp_path: Path) -> None:
    async with opened(tmp_path / "d") as (app, _, clock):
        await take(app, "swing")
        (document,) = await app.catalogue.documents(WHO, None, 9, None)
        before = (datetime.now(UTC)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        (found,) = await app.catalogue.expired(None, "docs", before)
        assert found.document_ids == (document.id,)
        await take(app, "swing", text="opens at two now")
        assert not await app.catalogue.expire(WHO, document.id, before)
        with pytest.raises(ScopeMissing):
            await app.catalogue.expire(READER, document.id, before)
        assert await names(app) == {"swing"}
        clock.days = 0


async def test_more_than_can_be_believed_waits_for_a_persons_word(tmp_path: Path) -> None:
    async with opened(tmp_path / "d") as (app, retention, clock):
        await take(app, *(f"n{number}" for number in range(11)))
        clock.days = 31
        (held,) = await retention.run()
        assert (held.deleted, held.held_back) == (0, 11) and "--confirm-deletions" in held.reason
        assert len(await names(app)) == 11
        with pytest.raises(ScopeMissing):
            await retention.run_one(READER, "docs", confirm_deletions=True)
        (done,) = await retention.run_one(WHO, "docs", confirm_deletions=True)
        assert (done.deleted, await names(app)) == (11, set())


def test_a_source_may_not_fill_what_forgets_by_age(tmp_path: Path) -> None:
    source = {"kind": "folder", "path": str(tmp_path), "collection": "docs"}
    with pytest.raises(ValueError, match="retention_days"):
        Exact(data=tmp_path, sources={"wiki": source}, rag={"collections": {"docs": {"retention_days": 1}}})
