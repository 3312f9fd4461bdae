"""Rows of a database as documents, on SQLite and Postgres."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from bascule.core.connectors import SkippedItem, SourceItem, UnchangedItem
from bascule.core.errors import ConfigError, StorageError
from bascule.plugins.connectors.sql import Settings, SqlConnector
from bascule.testing.connector_contract import check_connector
from bascule.testing.postgres import server
from bascule.testing.sources import counts, followed, known_from, listed, texts

QUERY = "SELECT id, title, body, note, version FROM article ORDER BY id"
ROWS = [(1, "Returns", "Thirty days.", "n1", 1), (2, "Wheels", "Round.", None, 1), (3, "Frames", "Steel.", "n3", 1)]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    made = f"sqlite:///{tmp_path}/shop.sqlite" if request.param == "sqlite" else server().new_database()
    run(made, "CREATE TABLE article (id INTEGER PRIMARY KEY, title TEXT, body TEXT, note TEXT, version INTEGER)")
    engine = sa.create_engine(made)
    with engine.begin() as connection:
        for row in ROWS:
            names = dict(zip("abcde", row, strict=True))
            connection.execute(sa.text("INSERT INTO article VALUES (:a, :b, :c, :d, :e)"), names)
    engine.dispose()
    yield made


def run(url: str, *statements: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    engine.dispose()


def connector(url: str, query: str = QUERY, **settings: object) -> SqlConnector:
    given: dict[str, object] = {"text_columns": ("body",), "title_column": "title"}
    return SqlConnector(Settings(url=url, query=query, **(given | settings)), url)


async def test_a_query_keeps_the_contract(url: str) -> None:
    run(url, "INSERT INTO article VALUES (4, 'Empty', ' ', NULL, 1)")
    await check_connector(lambda: connector(url), expected=["1", "2", "3"])


async def test_rows_become_documents_with_titles_and_metadata(url: str) -> None:
    changes = await listed(
        connector(
            url, text_columns=("body", "note"), metadata_columns=("version",), format="markdown", url_column="note"
        )
    )
    first = changes[0]
    assert isinstance(first, SourceItem)
    assert (first.external_id, first.name, first.title, first.media_type) == ("1", "1.md", "Returns", "text/markdown")
    assert first.data.decode() == "## body\n\nThirty days.\n\n## note\n\nn1"
    assert (first.metadata["version"], first.metadata["url"]) == (1, "n1")
    assert texts(changes)["2"] == "## body\n\nRound."


@pytest.mark.parametrize("changed", ["", "version"])
async def test_only_changed_rows_come_again_and_rows_that_have_gone_are_not_named(url: str, changed: str) -> None:
    first = await listed(connector(url, changed_column=changed))
    run(url, "UPDATE article SET body = 'Ten days.', version = 2 WHERE id = 1", "DELETE FROM article WHERE id = 2")
    second = await listed(connector(url, changed_column=changed), known_from(first))
    assert texts(second) == {"1": "Ten days."}
    assert [c.external_id for c in second if isinstance(c, UnchangedItem)] == ["3"]
    assert len(second) == 2


async def test_colons_and_per_cent_signs_of_a_query_are_its_own(url: str) -> None:
    query = "SELECT id, title, ' :name 10% a::b ' || body AS body FROM article WHERE title LIKE 'R%'"
    assert texts(await listed(connector(url, query))) == {"1": " :name 10% a::b Thirty days."}


async def test_a_query_that_writes_writes_nothing(url: str) -> None:
    with pytest.raises(StorageError):
        await listed(connector(url, "UPDATE article SET body = 'x' RETURNING id, title, body"))
    assert len(texts(await listed(connector(url)))) == 3
    assert "Thirty days." in texts(await listed(connector(url))).values()


async def test_rows_without_an_id_or_with_the_same_are_skipped_with_a_reason(url: str) -> None:
    query = "SELECT NULLIF(id, 2) AS id, title, body FROM article UNION ALL SELECT 1, 'again', 'again' ORDER BY title"
    changes = await listed(connector(url, query))
    reasons = [c.reason for c in changes if isinstance(c, SkippedItem)]
    assert len(reasons) == 2 and any("empty" in r for r in reasons) and any("same id" in r for r in reasons)


async def test_many_rows_are_read_piece_by_piece_and_too_many_delete_nothing(url: str) -> None:
    many = "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 1500) SELECT id, 'b' || id AS body FROM n"
    found = texts(await listed(connector(url, many, title_column="")))
    assert len(found) == 1500 and found["1500"] == "b1500"
    with pytest.raises(StorageError, match="max_rows"):
        await listed(connector(url, many, title_column="", max_rows=1000))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"id_column": "key"}, "no column 'key'. It gives: id, title, body, note, version"),
        ({"text_columns": ("text",)}, "no column 'text'"),
        ({"metadata_columns": ("x",)}, "no column 'x'"),
        ({"query": "SELEC 1"}, "refuses"),
        ({"query": "SELECT * FROM nosuch"}, "nosuch"),
    ],
)
async def test_a_wrong_setting_is_told_in_words(url: str, settings: dict[str, object], says: str) -> None:
    with pytest.raises(StorageError, match=says):
        await listed(connector(url, **settings))


def test_a_wrong_url_is_a_configuration_error_that_keeps_its_password() -> None:
    for wrong in ("nonsense:hunter2", "nosuch://u:hunter2@host/db"):
        with pytest.raises(ConfigError) as raised:
            connector(wrong)
        assert "hunter2" not in str(raised.value) and "url" in str(raised.value)


async def test_a_database_that_is_not_there_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        await listed(connector(f"sqlite:///{tmp_path}/no/such/folder.sqlite"))


async def test_rows_are_followed_into_search_and_out_of_it(tmp_path: Path) -> None:
    path = tmp_path / "shop.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE article (id INTEGER PRIMARY KEY, title TEXT, body TEXT)")
        connection.executemany(
            "INSERT INTO article VALUES (?, ?, ?)", [(n, f"T{n}", f"Steel frame number {n}.") for n in range(6)]
        )
        connection.commit()
        source = {
            "kind": "sql",
            "url": f"sqlite:///{path}",
            "query": "SELECT id, title, body FROM article",
            "text_columns": ["body"],
        }
        async with followed(tmp_path / "data", **source) as shop:
            assert counts(await shop.sync()) == (6, 0, 0)
            connection.execute("DELETE FROM article WHERE id = 0")
            connection.execute("UPDATE article SET body = 'Wooden wheels.' WHERE id = 1")
            connection.commit()
            assert counts(await shop.sync()) == (1, 4, 1)
            assert await shop.found("steel frame") == ["2", "3", "4", "5"]
            connection.execute("DELETE FROM article WHERE id > 2")
            connection.commit()
            held = await shop.sync()
            assert (counts(held)[2], held.held_back) == (0, 3), "more than a fifth at once waits for a word"
            assert counts(await shop.sync(confirm_deletions=True))[2] == 3
            connection.execute("DROP TABLE article")
            connection.commit()
            assert (await shop.sync(confirm_deletions=True)).stopped
            assert await shop.found("wooden wheels") == ["1"]
