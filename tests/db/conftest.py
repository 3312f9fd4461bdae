"""Every catalogue test runs on SQLite and on a real Postgres. When Postgres cannot start, its tests fail with the reason."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator, Iterator
from functools import cache
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection, Engine, make_url

from bascule.db.catalogue import SqlCatalogue, connect
from bascule.db.engine import insert_new
from bascule.db.tables import collections, metadata
from bascule.testing.postgres import server

OWNER = "bascule_app"  # no superuser: row-level security binds it


@cache
def _in_memory() -> tuple[Engine, bytes]:
    """One engine for all of them: what it has compiled once it need not compile again."""
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    metadata.create_all(engine)
    with engine.connect() as connection:
        return engine, connection.connection.driver_connection.serialize()


@pytest.fixture
def db() -> Iterator[Connection]:
    """Today's tables in memory, without rows: fast enough to try every mutant on."""
    engine, empty = _in_memory()
    with engine.connect() as connection:
        connection.connection.driver_connection.deserialize(empty)
        yield connection


@pytest.fixture
def places(db: Connection) -> None:
    """Collections to put documents into, two here and one of another tenant."""
    for tenant, id_ in (("acme", "c"), ("acme", "c2"), ("other", "o")):
        row = {"id": id_, "tenant": tenant, "name": f"name-{id_}", "fingerprint": "", "acl_id": 1, "created_at": ""}
        insert_new(db, collections, [row])


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def migrated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a catalogue with today's schema and no rows, to copy."""

    async def migrate(url: str, calls_url: str) -> None:
        async with connect(url, calls_url):
            pass

    folder = tmp_path_factory.mktemp("migrated")
    url = server().new_database(owner=OWNER) if request.param == "postgres" else f"sqlite:///{folder}/catalogue.sqlite"
    asyncio.run(migrate(url, url if request.param == "postgres" else f"sqlite:///{folder}/calls.sqlite"))
    return url


@pytest.fixture
def urls(migrated: str, tmp_path: Path) -> tuple[str, str]:
    """(catalogue, calls) without rows."""
    name = make_url(migrated).database
    assert name
    if migrated.startswith("postgres"):
        url = server().new_database(name, owner=OWNER)
        return url, url
    for file in Path(name).parent.glob("*.sqlite"):
        shutil.copy(file, tmp_path / file.name)
    return f"sqlite:///{tmp_path}/catalogue.sqlite", f"sqlite:///{tmp_path}/calls.sqlite"


@pytest.fixture
async def catalogue(urls: tuple[str, str]) -> AsyncGenerator[SqlCatalogue]:
    async with connect(*urls) as opened:
        yield opened
