"""An installation moves to a real Postgres and back: everything arrives, is proved, and survives being broken off."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bascule.bootstrap import App, init, open_app
from bascule.bootstrap.moving import move
from bascule.cli.app import run
from bascule.core.connectors import SourceItem
from bascule.core.errors import ConfigError, NotFound
from bascule.core.principals import Principal, system_principal
from bascule.core.rights import Rights
from bascule.core.rights_levels import Group
from bascule.db import copying
from bascule.db.engine import Database
from bascule.db.sealing import Seal, SealKey, read_secret
from bascule.ops import migrate as module
from bascule.ops.migrate import copy_secrets
from bascule.settings import Settings
from bascule.testing.postgres import server
from bascule.testing.running import settings_for, until

WHO = system_principal("default")
STAFF = Principal(tenant="default", subject="ann", groups=frozenset(["staff"]))
GUEST = Principal(tenant="default", subject="bob")


def ignore(what: str, done: int, total: int) -> None: ...


async def add(app: App, collection: str, text: str, rights: Rights) -> str:
    assert app.ingest is not None
    item = SourceItem(external_id=text, name="a.txt", data=text.encode())
    job, _ = await app.ingest.take(WHO, collection, [item], rights)

    async def done() -> bool:
        return (await app.catalogue.job(WHO, job.id)).finished_at is not None

    await until(done, 60, 0.05)
    return (await app.catalogue.job(WHO, job.id)).items[0].document_id


async def found(app: App, who: Principal, words: str) -> int:
    assert app.questions is not None
    return len(await app.questions.search(who, words, collections=None, limit=5, where={}))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An installation on SQLite with open, restricted, denied and deleted documents in two collections, and a trace."""
    folder = tmp_path_factory.mktemp("template") / "old"
    return folder, asyncio.run(fill(settings_for(folder)))


@pytest.fixture
def source(template: tuple[Path, str], tmp_path: Path) -> Settings:
    shutil.copytree(template[0], tmp_path / "old")
    return settings_for(tmp_path / "old")


async def fill(settings: Settings) -> str:
    """The id of the deleted document."""
    await init(settings)
    async with open_app(settings, work=True) as app:
        assert app.ingest is not None and app.questions is not None
        await app.directory.put_group(WHO, Group(name="staff", users=frozenset(["ann"]), groups=frozenset()))
        await add(app, "handbook", "wooden wheels are round", Rights.of(["public"]))
        await add(app, "handbook", "copper kettles are secret", Rights.of(["group:staff"], ["user:eve"]))
        await add(app, "other", "paper boats float, \u2028 naïvely", Rights.of(["public"]))
        gone = await add(app, "handbook", "steel frames are forgotten", Rights.of(["public"]))
        await app.ingest.delete(WHO, gone)
        await app.questions.answer(STAFF, "What is secret?")
    return gone


def to_postgres(folder: Path) -> Settings:
    return settings_for(folder / "new", catalogue={"url": server().new_database()})


def wrong(checks: list[module.Check]) -> list[module.Check]:
    return [check for check in checks if check.note or check.here != check.there]


async def check_arrived(target: Settings, gone: str) -> None:
    async with open_app(target, work=True) as app:
        assert [await found(app, STAFF, words) for words in ("wooden wheels", "copper kettles", "paper boats")] == [
            1,
            1,
            1,
        ]
        assert [await found(app, GUEST, words) for words in ("wooden wheels", "copper kettles")] == [1, 0]
        eve = Principal(tenant="default", subject="eve", groups=frozenset(["staff"]))
        assert await found(app, eve, "copper kettles") == 0
        assert await found(app, WHO, "steel frames") == 0
        with pytest.raises(NotFound):
            await app.catalogue.document(WHO, gone)
        assert (await app.catalogue.audit_chain()).whole
        await add(
            app, "handbook", "glass marbles roll", Rights.of(["public"])
        )  # numbers go on after those that were given
        assert await found(app, GUEST, "glass marbles") == 1


async def test_I7_O2_everything_moves_to_postgres_and_back_with_rights_and_deletions(
    source: Settings, template: tuple[Path, str], tmp_path: Path
) -> None:
    target = to_postgres(tmp_path)
    checks = await move(source, target, "default", (), ignore)
    assert not wrong(checks), wrong(checks)
    rows = {check.what: check.there for check in checks}
    assert (rows["documents"], rows["chunks"], rows["deletions"], rows["traces"]) == (4, 3, 1, 1)
    assert rows["people and what they may read"] >= 4 and rows["stored bytes"] == 3 and rows["ledger of deletions"] == 1
    await check_arrived(target, template[1])
    back = settings_for(tmp_path / "back")
    assert not wrong(await move(target, back, "default", (), ignore))
    await check_arrived_back(back)


async def check_arrived_back(back: Settings) -> None:
    async with open_app(back, work=False) as app:
        assert [await found(app, GUEST, words) for words in ("glass marbles", "copper kettles")] == [1, 0]


@pytest.mark.skipif(
    not os.environ.get("BASCULE_TEST_FULL"), reason="full form: four moves, each broken off and begun again"
)
async def test_broken_off_anywhere_it_goes_on_when_called_again(
    source: Settings, template: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "PAGE", 2)
    target = to_postgres(tmp_path)
    steps = 0

    class Killed(Exception):
        pass

    def until_step(last: int) -> module.Progress:
        def tell(what: str, done: int, total: int) -> None:
            nonlocal steps
            steps += 1
            if steps >= last:
                raise Killed

        return tell

    for last in (3, 12, 25, 40):
        steps = 0
        with pytest.raises(Killed):
            await move(source, target, "default", (), until_step(last))
    assert not wrong(await move(source, target, "default", (), ignore))
    await check_arrived(target, template[1])


PLANTS: Sequence[tuple[str, set[str]]] = (
    ("UPDATE chunks SET text = 'forged' WHERE text LIKE 'wooden%'", {"chunks"}),
    ("INSERT INTO acl_entries (acl_id, effect, mark, tenant) SELECT acl_id, 'allow', 'public', tenant FROM acl_entries"
     " WHERE mark = 'group:staff'", {"acl_entries", "people and what they may read"}),
    ("DELETE FROM deletions", {"deletions"}),
)  # fmt: skip


async def test_what_did_not_arrive_as_it_was_is_told(source: Settings, tmp_path: Path) -> None:
    target = settings_for(tmp_path / "new")
    assert not wrong(await move(source, target, "default", (), ignore))
    database = Database(f"sqlite:///{target.data}/catalogue.sqlite")
    for statement, _ in PLANTS:
        await database.write(lambda c, statement=statement: c.execute(sa.text(statement)))
    await database.close()
    assert {check.what for check in wrong(await move(source, target, "default", (), ignore))} == {
        what for _, told in PLANTS for what in told
    }


async def test_one_collection_moves_alone(source: Settings, tmp_path: Path) -> None:
    target = to_postgres(tmp_path)
    assert not wrong(await move(source, target, "default", ["other"], ignore))
    async with open_app(target, work=False) as app:
        assert [c.name for c in await app.catalogue.collections(WHO)] == ["other"]
        assert [await found(app, GUEST, words) for words in ("paper boats", "wooden wheels")] == [1, 0]
    with pytest.raises(NotFound):
        await move(source, settings_for(tmp_path / "third"), "default", ["missing"], ignore)


async def test_another_vector_store_is_filled_from_the_same_catalogue(source: Settings) -> None:
    rag: dict[str, Any] = {"embedding_model": None, "vector_store": {"kind": "memory"}}
    checks = await move(source, settings_for(source.data, rag=rag), "default", (), ignore)
    assert not wrong(checks) and {check.what: check.there for check in checks}["passages in the index"] == 3


async def test_it_refuses_a_place_that_is_in_use_or_somebody_elses(source: Settings, tmp_path: Path) -> None:
    async with open_app(source, work=True) as app:
        await until(lambda: app.jobs.state == "worker", 10)
        with pytest.raises(ConfigError, match="A server works"):
            await move(source, to_postgres(tmp_path), "default", (), ignore)
    with pytest.raises(ConfigError, match="the same"):
        await move(source, source, "default", (), ignore)
    used = settings_for(tmp_path / "used", catalogue={"url": server().new_database()})
    await init(used)
    fresh_folder = settings_for(tmp_path / "fresh", catalogue=used.catalogue.model_dump())
    with pytest.raises(ConfigError, match="not empty"):
        await move(source, fresh_folder, "default", (), ignore)
    with pytest.raises(ConfigError, match="secret of its own"):
        await move(source, settings_for(used.data), "default", (), ignore)


def test_secrets_are_compared_as_they_are_opened_and_arrive_in_a_form_that_the_target_opens(tmp_path: Path) -> None:
    one, other = (SealKey.of(letter * 40, "env:X") for letter in "ab")
    sealed, both, elsewhere, plain = Seal(one), Seal(other, [one]), Seal(other), Seal()
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "secrets").mkdir(parents=True)
    file = here / "secrets" / "prompt.key"
    file.write_bytes(sealed.closed("prompt.key", b"s" * 32))
    for target in (sealed, both, elsewhere):
        copy_secrets(here, there, sealed, target)
        assert read_secret(there / "secrets", "prompt.key", target) == b"s" * 32
        file.write_bytes(sealed.closed("prompt.key", b"s" * 32))  # the same secret, other bytes
        copy_secrets(here, there, sealed, target)
        assert [path.name for path in (there / "secrets").iterdir()] == ["prompt.key"]
        shutil.rmtree(there)
    with pytest.raises(ConfigError, match=r"secrets\.key"):
        copy_secrets(here, there, plain, sealed)
    with pytest.raises(ConfigError, match=r"secrets\.key"):
        copy_secrets(here, there, sealed, plain)
    assert not any((there / "secrets").iterdir()), "nothing is laid down in clear that was sealed"
    copy_secrets(here, there, sealed, sealed)
    file.write_bytes(sealed.closed("prompt.key", b"t" * 32))
    with pytest.raises(ConfigError, match="secret of its own"):
        copy_secrets(here, there, sealed, sealed)


async def test_the_command_moves_and_says_what_it_compared(
    source: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BASCULE_URL", "BASCULE_DATA", "BASCULE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "new.toml"
    file.write_text(f'[catalogue]\nurl = "{server().new_database()}"\n[rag]\nembedding_model = ""\n', encoding="utf-8")
    given = ["migrate", str(file), "--data", str(source.data), "--to-data", str(tmp_path / "new")]
    code = await asyncio.to_thread(run, given)
    out = capsys.readouterr().out
    assert (code, out.splitlines()[-1]) == (0, "Everything arrived."), out
    assert "chunks\t3\t3\t" in out
