"""The SQL decision about who may read is the rule of core.rights, for any rights and any principal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from bascule.core.errors import InvalidRequest
from bascule.core.ids import new_id
from bascule.core.principals import SCOPE_ADMIN, SCOPE_ASK, Principal
from bascule.core.rights import Rights, may_read
from bascule.db.engine import Database
from bascule.db.migrate import migrate
from bascule.db.passages import current_chunks
from bascule.db.rights import intern, parse_canonical, readable_acls, visible
from bascule.db.tables import acls, collections, documents
from bascule.testing.catalogue_world import admin

NAMES = st.sampled_from(["ann", "ben", "hr", "it", "é", "a'b", "100%", "group:hr"])
MARKS = st.one_of(st.just("public"), st.builds("{}:{}".format, st.sampled_from(["user", "group", "role"]), NAMES))
SETS = st.frozensets(MARKS, max_size=4)
RIGHTS = st.builds(Rights, allow=SETS, deny=SETS, owner=st.one_of(st.just(""), NAMES))
PRINCIPALS = st.builds(
    Principal,
    tenant=st.just(""),
    subject=st.one_of(st.just(""), NAMES),
    groups=st.frozensets(NAMES, max_size=3),
    roles=st.frozensets(NAMES, max_size=2),
    scopes=st.sampled_from([frozenset({SCOPE_ASK}), frozenset({SCOPE_ASK}), frozenset({SCOPE_ADMIN})]),
    key_id=st.just("k"),
)


@pytest.fixture
def database(urls: tuple[str, str]) -> Iterator[Database]:
    opened = Database(urls[0])
    yield opened
    opened._close()


def store(connection: Connection, tenant: str, sets: list[Rights]) -> dict[str, Rights]:
    """One bare document for each set of rights, by id."""
    collection_id, nothing = new_id(), intern(connection, tenant, Rights())
    texts = {c.name: "" for c in (*collections.columns, *documents.columns) if c.name != "deleted_at"}
    base = {"tenant": tenant, "dimension": 0, "version": 0, "chunk_count": 0, "size_bytes": 0, "pending_acl_id": None}
    base |= {"generation": 0}

    def row(table: sa.Table, **values: object) -> None:
        given = texts | base | values
        connection.execute(sa.insert(table).values({c.name: given[c.name] for c in table.columns if c.name in given}))

    row(collections, id=collection_id, name=new_id(), acl_id=nothing)
    made: dict[str, Rights] = {}
    for rights in sets:
        key = new_id()
        acl_id = intern(connection, tenant, rights)
        row(documents, id=key, external_id=key, collection_id=collection_id, acl_id=acl_id)
        made[key] = rights
    return made


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sets=st.lists(RIGHTS, min_size=1, max_size=6), principals=st.lists(PRINCIPALS, min_size=1, max_size=4))
def test_sql_and_the_rule_agree(database: Database, sets: list[Rights], principals: list[Principal]) -> None:
    tenant, other = new_id(), new_id()
    made = database.write_now(lambda c: store(c, tenant, sets))
    database.write_now(lambda c: store(c, other, sets))

    def decide(connection: Connection, principal: Principal) -> tuple[set[str], set[Rights]]:
        seen = set(connection.execute(sa.select(documents.c.id).where(visible(principal))).scalars())
        ids = connection.execute(readable_acls(principal)).scalars().all()
        query = sa.select(acls.c.canonical).where(acls.c.id.in_(ids), acls.c.tenant == tenant)
        texts = connection.execute(query).scalars().all()
        assert len(texts) == len(set(ids)) == len(ids)
        return seen, {parse_canonical(text) for text in texts}

    for one in principals:
        principal = Principal(
            tenant=tenant, subject=one.subject, groups=one.groups, roles=one.roles, scopes=one.scopes, key_id="k"
        )
        seen, readable = database.read_now(lambda c, who=principal: decide(c, who))
        assert seen == {key for key, rights in made.items() if may_read(rights, principal)}
        assert readable - {Rights()} == {r for r in sets if may_read(r, principal)} - {Rights()}


@given(rights=RIGHTS)
def test_canonical_text_is_read_back_as_the_same_rights(rights: Rights) -> None:
    assert parse_canonical(rights.canonical()) == rights


def test_equal_rights_share_an_acl_id_within_a_tenant_only(database: Database) -> None:
    rights = Rights.of(["group:hr", "public"], ["user:ben"], "ann")
    same = Rights.of(["public", "group:hr"], ["user:ben"], "ann")
    ids = database.write_now(lambda c: [intern(c, t, r) for t, r in (("a", rights), ("a", same), ("b", rights))])
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("bad", [Rights(allow=frozenset({"user:a\n+public"})), Rights(owner="a\n+public")])
def test_marks_that_could_be_read_as_others_are_refused(database: Database, bad: Rights) -> None:
    with pytest.raises(InvalidRequest):
        database.write_now(lambda c: intern(c, "a", bad))


@pytest.mark.parametrize("who", [Principal(tenant="a", subject="ann", key_id="k"), admin("a")])
def test_a_check_costs_what_is_asked_for_not_what_is_stored(tmp_path: Path, who: Principal) -> None:
    database = Database(f"sqlite:///{tmp_path}/c.sqlite")
    database.write_now(lambda c: migrate(c, "catalogue"))
    query = current_chunks(who, ["0" * 32]).compile(database.engine, compile_kwargs={"literal_binds": True})
    plan = database.read_now(lambda c: c.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}").fetchall())
    database._close()
    steps = [row[3] for row in plan]
    assert steps[0].startswith("SEARCH chunks USING INDEX sqlite_autoindex_chunks_1"), steps
    assert "SEARCH documents USING INDEX sqlite_autoindex_documents_1 (id=?)" in steps
