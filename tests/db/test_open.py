"""Opening a catalogue: migrations, several processes, and what is refused."""

from __future__ import annotations

import asyncio
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from bascule.core.errors import ConfigError, StorageError
from bascule.db import catalogue as opening
from bascule.db import migrate, tables
from bascule.db.catalogue import SqlCatalogue, connect
from bascule.db.engine import READER_PAGES_KB, WRITER_PAGES_KB, Database
from bascule.db.filesystem import file_system_of, refuse_network_folder
from bascule.testing.catalogue_world import World, admin, new_document
from bascule.testing.postgres import server


@pytest.fixture(params=["sqlite", "postgres"])
def empty(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Two databases that the migrations themselves meet, not what they left another time."""
    monkeypatch.setattr(opening, "migrate", migrate.migrate)
    if request.param == "postgres":
        url = server().new_database()
        return url, url
    return f"sqlite:///{tmp_path}/c.sqlite", f"sqlite:///{tmp_path}/l.sqlite"


async def test_opening_twice_at_once_and_again_makes_one_schema(empty: tuple[str, str]) -> None:
    async def use(name: str) -> None:
        async with connect(*empty) as catalogue:
            await World(catalogue).collection(name)

    await asyncio.gather(*(use(f"c{n}") for n in range(4)))
    async with connect(*empty) as catalogue:
        assert len(await catalogue.collections(admin())) == 4


async def test_the_migrated_schema_is_the_one_the_code_says(empty: tuple[str, str]) -> None:
    async with connect(*empty):
        pass
    together = sa.MetaData()
    for metadata in (tables.metadata, tables.calls_metadata):
        for table in metadata.tables.values():
            table.to_metadata(together)
    found = []
    for url in dict.fromkeys(empty):
        database = Database(url)
        found.append(database.read_now(lambda c: _differences(c, together)))
        await database.close()
    assert set.intersection(*map(set, found)) == set()


def _differences(connection: sa.Connection, metadata: sa.MetaData) -> list[str]:
    options = {"include_name": lambda name, kind, _: kind != "table" or not str(name).startswith("schema_")}
    differences = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
    return [str(difference) for difference in differences]


@pytest.mark.parametrize("history", ["catalogue", "calls"])
def test_the_code_knows_the_last_migration(history: str) -> None:
    assert ScriptDirectory(str(migrate.FOLDER / history)).get_current_head() == migrate.HEADS[history]


async def test_a_newer_schema_is_refused_with_a_clear_line(empty: tuple[str, str]) -> None:
    async with connect(*empty):
        pass
    database = Database(empty[0])
    database.write_now(lambda c: c.execute(sa.text("UPDATE schema_catalogue SET version_num = '9999'")))
    await database.close()
    with pytest.raises(ConfigError, match="newer than this version of Bascule"):
        async with connect(*empty):
            pass


async def test_a_damaged_file_is_refused_with_a_clear_line(tmp_path: Path) -> None:
    (tmp_path / "c.sqlite").write_bytes(b"not a database at all" * 1000)
    with pytest.raises(StorageError, match="damaged"):
        async with connect(f"sqlite:///{tmp_path}/c.sqlite", f"sqlite:///{tmp_path}/l.sqlite"):
            pass


@pytest.mark.parametrize("url", ["nonsense", "mysql://x/y", "sqlite://", "sqlite:////no/such/folder/c.sqlite"])
async def test_a_url_that_cannot_be_a_catalogue_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        async with connect(url, f"sqlite:///{tmp_path}/l.sqlite"):
            pass


async def test_nobody_else_may_read_the_files(tmp_path: Path) -> None:
    async with connect(f"sqlite:///{tmp_path}/c.sqlite", f"sqlite:///{tmp_path}/l.sqlite") as catalogue:
        await World(catalogue).collection()
        modes = {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes == {0o600}


async def test_sqlite_keeps_what_it_acknowledged_and_leaves_no_deleted_bytes(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/c.sqlite")

    def setting(name: str) -> object:
        return database.read_now(lambda c: c.exec_driver_sql(f"PRAGMA {name}").scalar())

    found = {name: setting(name) for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete")}
    await database.close()
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1}


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:50 / /srv/share rw,relatime - nfs4 server:/export rw
24 23 8:2 / /srv/share/local\\040disk rw - xfs /dev/sdb rw
25 22 0:51 / /mnt/s rw - fuse.sshfs user@host: rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/x", "ext4"),
        ("/srv/share/data", "nfs4"),
        ("/srv/shared", "ext4"),
        ("/srv/share/local disk/data", "xfs"),
        ("/mnt/s", "fuse.sshfs"),
    ],
)
def test_the_file_system_of_a_folder_is_that_of_its_nearest_mount(path: str, kind: str) -> None:
    assert file_system_of(Path(path), MOUNTS) == kind


def test_a_network_file_system_is_refused_and_an_unknown_one_is_not(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.replace(" / / ", f" / {tmp_path} ").replace("ext4", "nfs"))
    with pytest.raises(ConfigError, match="network file system"):
        refuse_network_folder(tmp_path, mounts)
    refuse_network_folder(tmp_path, tmp_path / "missing")


WRITER = """
import asyncio, sys
from bascule.db.catalogue import connect
from bascule.testing.catalogue_world import World

async def main(folder, name):
    async with connect(f"sqlite:///{folder}/c.sqlite", f"sqlite:///{folder}/l.sqlite") as catalogue:
        world = World(catalogue)
        for n in range(15):
            await world.add(f"{name}-{n}", f"{name} {n}")
        await catalogue.audit(world.system, "written", name, {})

asyncio.run(main(*sys.argv[1:]))
"""


def _start(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code, *arguments])


async def test_processes_write_one_sqlite_folder_at_once_and_lose_nothing(tmp_path: Path) -> None:
    started = [_start(WRITER, str(tmp_path), f"p{n}") for n in range(3)]
    assert [await asyncio.to_thread(process.wait, 100) for process in started] == [0, 0, 0]
    async with connect(f"sqlite:///{tmp_path}/c.sqlite", f"sqlite:///{tmp_path}/l.sqlite") as catalogue:
        found = await catalogue.documents(admin(), None, 100, None)
        assert {d.external_id for d in found} == {f"p{p}-{n}" for p in range(3) for n in range(15)}
        assert {d.state for d in found} == {"indexed"}
        changes = [(change.kind, change.document_id) for change in await catalogue.index_changes(100)]
        assert sorted(changes) == sorted(("index", d.id) for d in found)
        assert await catalogue.audit_break() is None
        assert len(await catalogue.audit_rows(admin(), 10)) == 3


async def test_a_cancelled_caller_leaves_a_whole_transaction_or_none(catalogue: SqlCatalogue) -> None:
    world = World(catalogue)
    await world.collection()
    task = asyncio.create_task(world.accept(world.system, *(new_document(f"d{n}", "x") for n in range(50))))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await world.accept(world.system, new_document("last", "x"))
    assert len(await catalogue.documents(admin(), None, 100, None)) in (1, 51)


async def test_only_the_connection_that_writes_keeps_many_pages(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/c.sqlite")

    def kept(connection: sa.Connection) -> int:
        return int(connection.execute(sa.text("PRAGMA cache_size")).scalar_one())

    try:
        written = [await database.write(kept) for _ in range(5)]
        read = await asyncio.gather(*(database.read(kept) for _ in range(12)))
    finally:
        await database.close()
    assert set(written) == {-WRITER_PAGES_KB} and set(read) == {-READER_PAGES_KB}
    assert 3 * READER_PAGES_KB < WRITER_PAGES_KB
