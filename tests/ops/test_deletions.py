"""What was deleted stays deleted: over restored backups, crashes and torn ledgers; and the audit finds what is left."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bascule.bootstrap import App, init, open_app
from bascule.cli.app import run
from bascule.core.connectors import SourceItem
from bascule.core.errors import NotFound, StorageError
from bascule.core.principals import system_principal
from bascule.core.rights import Rights
from bascule.db.ledger import NAME, Deletion, DeletionLedger
from bascule.settings import Settings
from bascule.testing.running import running, settings_for, until

WHO = system_principal("default")


async def add(app: App, *texts: str) -> list[str]:
    """Ids of documents that are indexed."""
    assert app.ingest is not None
    items = [SourceItem(external_id=text, name="a.txt", data=text.encode()) for text in texts]
    job, _ = await app.ingest.take(WHO, "handbook", items, Rights.of(["public"]))

    async def done() -> bool:
        return (await app.catalogue.job(WHO, job.id)).finished_at is not None

    await until(done, 60, 0.05)
    return [item.document_id for item in (await app.catalogue.job(WHO, job.id)).items]


async def made(folder: Path) -> tuple[Settings, str, str]:
    """(settings, id of a deleted document, id of another) with a backup of before the deletion in `backup`."""
    settings = settings_for(folder / "data")
    await init(settings)
    async with open_app(settings, work=True) as app:
        gone, kept = await add(app, "steel frames are secret", "wooden wheels are round")
    shutil.copytree(folder / "data", folder / "backup", ignore=shutil.ignore_patterns(NAME))
    async with open_app(settings, work=True) as app:
        assert app.ingest is not None
        await app.ingest.delete(WHO, gone)
    return settings, gone, kept


def restore(folder: Path) -> None:
    """As an operator does: everything from the backup over what is there; the ledger is not in it."""
    for path in (folder / "data").iterdir():
        if path.name != NAME:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(folder / "backup", folder / "data", dirs_exist_ok=True)


async def found(app: App, words: str) -> int:
    assert app.questions is not None
    return len(await app.questions.search(WHO, words, collections=None, limit=5, where={}))


async def test_a_restored_backup_does_not_bring_a_deleted_document_back(tmp_path: Path) -> None:
    settings, gone, kept = await made(tmp_path)
    restore(tmp_path)
    async with open_app(settings, work=False) as app:
        assert app.deleted_again == 1
        with pytest.raises(NotFound):
            await app.catalogue.document(WHO, gone)
        assert (await found(app, "steel frames"), await found(app, "wooden wheels")) == (0, 1)
        acts = [(row.act, row.target) for row in await app.catalogue.audit_rows(WHO, 5)]
        assert ("document.delete_again", gone) in acts
        assert (await app.catalogue.document(WHO, kept)).state == "indexed"
    async with open_app(settings, work=False) as app:
        assert app.deleted_again == 0


async def test_a_deletion_that_a_crash_kept_from_the_ledger_is_told_at_the_next_start(tmp_path: Path) -> None:
    settings, gone, _ = await made(tmp_path)
    (tmp_path / "data" / NAME).unlink()
    async with open_app(settings, work=False):
        pass
    assert set(DeletionLedger(tmp_path / "data" / NAME).entries()) == {gone}


def test_a_torn_line_costs_only_itself_and_lines_are_private(tmp_path: Path) -> None:
    ledger = DeletionLedger(tmp_path / "l")
    first, second = Deletion("a", "t", "now"), Deletion("b", "t", "now")
    ledger.append([first])
    with (tmp_path / "l").open("ab") as file:
        file.write(b'{"document_id":"c","ten')
    ledger.append([second])
    assert ledger.entries() == {"a": first, "b": second}
    assert (tmp_path / "l").stat().st_mode & 0o777 == 0o600
    with pytest.raises(StorageError):
        DeletionLedger(tmp_path / "no" / "folder").append([first])
    assert DeletionLedger(tmp_path / "none").entries() == {}


def audit(data: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    code = run(["audit", "deletions", "--data", str(data)])
    return code, capsys.readouterr().out


def test_the_audit_proves_that_nothing_is_left_and_finds_what_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BASCULE_URL", raising=False)
    settings, gone, kept = asyncio.run(made(tmp_path))
    (settings.data / "bascule.toml").write_text('[rag]\nembedding_model = ""\n', encoding="utf-8")
    code, out = audit(settings.data, capsys)
    assert (code, out.splitlines()[-1]) == (0, "1 deletions: nothing is left."), out
    assert {line.split("\t")[1] for line in out.splitlines()[1:-1]} == {"0"}

    plants: Sequence[tuple[str, tuple[Any, ...]]] = (
        ("UPDATE documents SET title = 'secret' WHERE id = ?", (gone,)),
        ("UPDATE chunks SET document_id = ? WHERE document_id = ?", (gone, kept)),
        ("UPDATE items SET name = 'secret.txt' WHERE document_id = ?", (gone,)),
    )
    with closing(sqlite3.connect(settings.data / "catalogue.sqlite")) as connection:
        for statement, values in plants:
            connection.execute(statement, values)
        blob = connection.execute("SELECT blob FROM items WHERE document_id = ?", (gone,)).fetchone()[0]
        connection.commit()
    place = settings.data / "blobs" / blob[-2:] / blob
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(b"steel frames are secret")
    code, out = audit(settings.data, capsys)
    assert code == 1 and "something is left" in out
    left = {line.split("\t")[0] for line in out.splitlines()[1:-1] if line.split("\t")[1] != "0"}
    assert {"documents", "passages", "jobs", "stored bytes"} <= left


async def test_the_age_of_the_oldest_unpurged_deletion_is_a_metric(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "data")
    async with running(settings) as (url, app, admin), aiohttp.ClientSession(url) as http:
        (gone,) = await add(app, "steel frames")

        async def gauge() -> float:
            async with http.get("/metrics", headers={"authorization": f"Bearer {admin}"}) as reply:
                lines = (await reply.text()).splitlines()
            name = "bascule_oldest_unpurged_deletion_seconds "
            return float(next(line.split()[1] for line in lines if line.startswith(name)))

        assert await gauge() == 0
        assert app.store is not None and app.ingest is not None
        works = app.store.remove_document

        async def fails(*_: Any, **__: Any) -> None:
            raise StorageError("The index does not answer.")

        app.store.remove_document = fails  # type: ignore[method-assign]
        await app.ingest.delete(WHO, gone)

        async def aged() -> bool:
            return await gauge() > 0

        await until(aged, 10)
        app.store.remove_document = works  # type: ignore[method-assign]
        await app.ingest.settle()
        assert await gauge() == 0
