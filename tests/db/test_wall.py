"""The second wall: on Postgres, a query that forgets its filters sees nothing that is not the asker's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncGenerator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import make_url

from bascule.core.principals import Principal
from bascule.core.rights import Rights
from bascule.db.catalogue import SqlCatalogue, connect
from bascule.db.wall import ROLE, TABLES
from bascule.ops.doctor import wall
from bascule.testing.catalogue_world import World, admin, person
from bascule.testing.postgres import server


@pytest.fixture
async def opened() -> AsyncGenerator[SqlCatalogue]:
    url = server().new_database()
    async with connect(url, url) as catalogue:
        await World(catalogue).add("open", "for all", rights=Rights.of(["public"]))
        await World(catalogue).add("pay", "for people", rights=Rights.of(["group:hr"], ["user:bob"]))
        await World(catalogue, "other").add("theirs", "foreign", rights=Rights.of(["public"]))
        yield catalogue


async def _all(catalogue: SqlCatalogue, principal: Principal) -> tuple[set[str], set[str]]:
    """What queries without any filter show on the connection that questions use."""
    texts = await catalogue._read_for(principal, lambda c: set(c.execute(sa.text("SELECT text FROM chunks")).scalars()))
    names = "SELECT external_id FROM documents"
    return texts, await catalogue._read_for(principal, lambda c: set(c.execute(sa.text(names)).scalars()))


async def test_a_query_that_forgets_tenant_and_rights_shows_only_what_is_the_askers(opened: SqlCatalogue) -> None:
    assert await _all(opened, person("ann")) == ({"for all"}, {"open"})
    assert await _all(opened, person("eve", "hr")) == ({"for all", "for people"}, {"open", "pay"})
    assert await _all(opened, person("bob", "hr")) == ({"for all"}, {"open"})
    assert await _all(opened, admin()) == ({"for all", "for people"}, {"open", "pay"})
    assert await _all(opened, admin("other")) == ({"foreign"}, {"theirs"})
    assert await _all(opened, person("o'hara\0\ud800", 'a"b\\')) == ({"for all"}, {"open"})


async def test_a_transaction_that_names_nobody_sees_nothing_and_none_may_write(opened: SqlCatalogue) -> None:
    def nobody(connection: sa.Connection, statement: str) -> list[object]:
        connection.execute(sa.text(f"SET LOCAL ROLE {ROLE}"))
        return list(connection.execute(sa.text(statement)).scalars())

    await _all(opened, admin())  # what it set must not outlive its transaction
    for table in ("documents", "chunks", "collections", "acls"):
        assert await opened._read(lambda c, table=table: nobody(c, f"SELECT id FROM {table}")) == []
    for statement in ("DELETE FROM chunks RETURNING id", "SELECT id FROM keys"):
        with pytest.raises(Exception, match="did not answer"):
            await opened._write(lambda c, statement=statement: nobody(c, statement))
    assert len(await opened.live_documents()) == 3


async def test_the_tables_owner_sees_and_writes_nothing_that_it_does_not_call_our_own_work() -> None:
    """Row-level security is forced: a tool or a statement that comes as Bascule's own login has no way around it."""
    url = server().new_database(owner="wall_owner")
    async with connect(url, url) as catalogue:
        await World(catalogue).add("a", "text", rights=Rights.of(["public"]))
        assert [line.state for line in wall(await catalogue.wall())] == ["ok"]
        assert await _all(catalogue, person("ann")) == ({"text"}, {"a"})
    parsed = make_url(url)
    options: dict[str, Any] = {"host": str(parsed.query["host"]), "user": "wall_owner", "dbname": parsed.database}
    owned = "SELECT count(*) FROM pg_class WHERE relname = ANY (%s) AND pg_get_userbyid(relowner) = 'wall_owner'"
    with psycopg.connect(**options) as owner:
        assert owner.execute(owned, [list(TABLES)]).fetchone() == (len(TABLES),)
        for table in TABLES:
            assert owner.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() == (0,), table
        for change in (
            "DELETE FROM chunks",
            "UPDATE documents SET deleted_at = 'now'",
            "UPDATE acl_entries SET mark = 'x'",
        ):
            assert owner.execute(change.encode()).rowcount == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"), owner.transaction():
            owner.execute("INSERT INTO acl_entries VALUES (1, 'allow', 'public', 'acme')")
        with owner.transaction():
            owner.execute("SET LOCAL bascule.work = 'on'")
            assert owner.execute("SELECT count(*) FROM documents").fetchone() == (1,)
            owner.execute(f"SET LOCAL ROLE {ROLE}".encode())
            assert owner.execute("SELECT count(*) FROM documents").fetchone() == (0,), "the word is not the reader's"
        assert owner.execute("SELECT count(*) FROM documents").fetchone() == (0,), "it ends with its transaction"


async def test_a_catalogue_of_before_is_forced_at_its_next_start_with_all_that_is_in_it() -> None:
    url = server().new_database(owner="wall_owner")
    async with connect(url, url) as catalogue:
        await World(catalogue).add("a", "text", rights=Rights.of(["public"]))
        undone = ["UPDATE schema_catalogue SET version_num = '0013'"]
        for table in TABLES:
            undone += [f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY", f"DROP POLICY wall ON {table}"]
            undone.append(f"CREATE POLICY wall ON {table} FOR SELECT USING (false)")
        await catalogue._write(lambda c: c.execute(sa.text("; ".join(undone))))
        (found,) = wall(await catalogue.wall())
        assert found.state == "warn" and "not in force" in found.text
    async with connect(url, url) as catalogue:
        assert [line.state for line in wall(await catalogue.wall())] == ["ok"]
        assert await _all(catalogue, person("ann")) == ({"text"}, {"a"})


async def test_it_is_dumped_by_the_words_in_the_docs_and_stands_again_where_it_is_put_back() -> None:
    url, empty = (make_url(server().new_database(owner="wall_owner")) for _ in range(2))
    place = ["-h", str(url.query["host"]), "-U", "wall_owner"]

    def ran(
        program: str, database: Any, *more: str, given: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        command = [str(server().programs / program), *place, *more, str(database)]
        return subprocess.run(command, input=given, env=os.environ | environment, capture_output=True, text=True)

    async with connect(url.render_as_string(), url.render_as_string()) as catalogue:
        await World(catalogue).add("a", "a text to keep", rights=Rights.of(["public"]))
    refused = ran("pg_dump", url.database)
    assert refused.returncode != 0 and "row-level security" in refused.stderr, "rather than an empty copy"
    dumped = ran("pg_dump", url.database, "--enable-row-security", PGOPTIONS="-c bascule.work=on")
    assert dumped.returncode == 0 and "a text to keep" in dumped.stdout
    put_back = ran("psql", empty.database, "-q", "-v", "ON_ERROR_STOP=1", given=dumped.stdout)
    assert put_back.returncode == 0, put_back.stderr
    async with connect(empty.render_as_string(), empty.render_as_string()) as catalogue:
        assert [line.state for line in wall(await catalogue.wall())] == ["ok"]
        assert await _all(catalogue, person("ann")) == ({"a text to keep"}, {"a"})


async def test_doctor_says_whether_the_wall_stands() -> None:
    url = make_url(server().new_database())
    with psycopg.connect(host=str(url.query["host"]), user="postgres", dbname="postgres", autocommit=True) as root:
        root.execute(f"CREATE ROLE wall_login LOGIN; ALTER DATABASE {url.database} OWNER TO wall_login".encode())
        own = url.set(username="wall_login").render_as_string()
        root.execute(
            f"DO $$ BEGIN CREATE ROLE {ROLE} NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$".encode()
        )
        async with connect(own, own) as catalogue:
            await World(catalogue).add("a", "text")
            (found,) = wall(await catalogue.wall())
            assert found.state == "warn" and f"GRANT {ROLE}" in found.fix
        root.execute(f"GRANT {ROLE} TO wall_login".encode())
    async with connect(own, own) as catalogue:
        assert [line.state for line in wall(await catalogue.wall())] == ["ok"]
        assert await _all(catalogue, admin()) == ({"text"}, {"a"})
        assert await _all(catalogue, admin("other")) == (set(), set())
    above = url.render_as_string()
    async with connect(above, above) as catalogue:
        assert [line.state for line in wall(await catalogue.wall())] == ["warn"]
