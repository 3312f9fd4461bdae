"""The SQL that decides who may read, on a small database in memory: fast enough to try every mutant (`make mutants`)."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from bascule.core.errors import InvalidRequest, NotFound, ScopeMissing
from bascule.core.principals import SCOPE_ASK, SCOPE_INGEST, Principal
from bascule.core.rights import Rights, may_read
from bascule.db import rights as sql
from bascule.db.engine import insert_new
from bascule.db.tables import acl_entries, acls, collections, documents, jobs
from bascule.testing.catalogue_world import admin, person, service

NOBODY = Principal(tenant="acme")
BOSS = Principal(tenant="acme", roles=frozenset({"boss"}))
ASKERS = [
    person("ann"),
    person("ben", "hr"),
    person("olga", "hr"),
    person("hr"),
    NOBODY,
    BOSS,
    service("k1"),
    admin(),
    person("ann", "hr", tenant="other"),
    admin("other"),
    person("group:hr"),  # a token may bring any name: it is no mark
    person("public"),
]
RIGHTS = [
    Rights(),
    Rights.of(["public"]),
    Rights.of(["user:ann"], owner="olga"),
    Rights.of(["group:hr"], ["user:ben"], "olga"),
    Rights.of(["group:hr", "role:boss"]),
    Rights.of(["public"], ["public"], "ann"),
    Rights.of([], ["group:hr"], "olga"),
    Rights.of(["user:hr"], ["role:boss"], "ann"),
    Rights(owner="public"),
    Rights.of(["role:boss"], ["user:public"], "public"),
]


def add(db: Connection, name: str, rights: Rights, tenant: str = "acme", **more: Any) -> int:
    acl_id = sql.intern(db, tenant, rights)
    blank = {c.name: "" for c in documents.c if not c.nullable and c.server_default is None}
    where = {"id": name, "tenant": tenant, "acl_id": acl_id, "size_bytes": 1, "collection_id": "c", "external_id": name}
    db.execute(sa.insert(documents).values(blank | where | more))
    return acl_id


def seen(db: Connection, asker: Principal) -> set[str]:
    return set(db.execute(sa.select(documents.c.id).where(sql.visible(asker))).scalars())


@pytest.mark.parametrize("asker", ASKERS)
def test_documents_and_numbers_follow_the_rule(db: Connection, asker: Principal) -> None:
    numbers = {}
    for at, rights in enumerate(RIGHTS):
        numbers[at] = add(db, str(at), rights)
        add(db, f"theirs-{at}", rights, "other")
        add(db, f"gone-{at}", rights, deleted_at="now")
    mine = asker.tenant == "acme"
    expected = {at for at, rights in enumerate(RIGHTS) if may_read(rights, asker)}
    assert seen(db, asker) == {str(at) if mine else f"theirs-{at}" for at in expected}
    found = db.execute(sql.readable_acls(asker)).scalars().all()
    assert len(found) == len(set(found))
    if mine:
        assert set(found) == {numbers[at] for at in expected}
    else:
        assert not set(found) & set(numbers.values()) and len(found) == len(expected)


def test_the_tenants_column_may_be_anothers(db: Connection) -> None:
    """A query that starts from other rows compares theirs."""
    add(db, "a", Rights.of(["public"]))
    fixed = sa.literal("acme")
    for tenant, there in (("acme", {"a"}), ("other", set())):
        query = sa.select(documents.c.id).where(sql.visible(person("ann", tenant=tenant), fixed))
        assert set(db.execute(query).scalars()) == there


def test_equal_rights_have_one_number_in_each_tenant(db: Connection) -> None:
    rights = Rights.of(["group:hr", "user:b"], ["user:a"], "olga")
    first, other = sql.intern(db, "acme", rights), sql.intern(db, "other", rights)
    assert sql.intern(db, "acme", rights) == first != other
    assert sql.intern(db, "acme", Rights.of(["group:hr", "user:b"], ["user:a"])) != first
    assert sql.rights_of(db, first) == sql.parse_canonical(rights.canonical()) == rights
    assert sql.rights_of(db, sql.intern(db, "acme", Rights())) == Rights()
    rows = {tuple(row) for row in db.execute(sa.select(acl_entries).where(acl_entries.c.acl_id == first))}
    assert rows == {
        (first, "allow", "group:hr", "acme"),
        (first, "allow", "user:b", "acme"),
        (first, "deny", "user:a", "acme"),
        (first, "owner", "olga", "acme"),
    }
    row = db.execute(sa.select(acls).where(acls.c.id == first)).one()
    assert (row.tenant, row.canonical, row.given, len(row.digest)) == ("acme", rights.canonical(), None, 64)


def test_rights_that_are_known_are_only_looked_up(db: Connection) -> None:
    first = sql.intern(db, "acme", Rights.of(["public"]))
    said: list[str] = []

    def listen(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        said.append(statement.split(maxsplit=1)[0])

    sa.event.listen(db.engine, "before_cursor_execute", listen)
    try:
        assert sql.intern(db, "acme", Rights.of(["public"])) == first
    finally:
        sa.event.remove(db.engine, "before_cursor_execute", listen)
    assert said == ["SELECT"]


def test_a_name_with_a_lone_surrogate_is_interned(db: Connection) -> None:
    strange = Rights(owner="\udc80")
    assert sql.intern(db, "acme", strange) == sql.intern(db, "acme", strange)


@pytest.mark.parametrize(
    "rights",
    [
        Rights(allow=frozenset({"everybody"})),
        Rights(deny=frozenset({"user:"})),
        Rights(owner="a b"),
        Rights(owner="a\nb"),
    ],
)
def test_what_is_no_mark_is_never_interned(db: Connection, rights: Rights) -> None:
    with pytest.raises(InvalidRequest):
        sql.intern(db, "acme", rights)
    assert not db.execute(sa.select(acls)).all()


def test_ones_own_rows(db: Connection) -> None:
    insert_new(
        db,
        collections,
        [{"id": "c", "tenant": "acme", "name": "n", "fingerprint": "", "acl_id": 1, "created_at": ""}],
    )
    blank = {c.name: "" for c in jobs.c if not c.nullable and c.server_default is None}
    made = [
        ("acme", "ann", "key-ann"),
        ("acme", "", "k1"),
        ("acme", "", ""),
        ("acme", "", "k2"),
        ("other", "ann", "k1"),
        ("other", "", "k1"),
    ]
    for at, (tenant, subject, key_id) in enumerate(made):
        row = {"id": str(at), "tenant": tenant, "subject": subject, "key_id": key_id, "collection_id": "c"}
        db.execute(sa.insert(jobs).values(blank | row))

    def own(who: Principal) -> set[str]:
        return set(db.execute(sa.select(jobs.c.id).where(sql.made_by(who, jobs))).scalars())

    assert own(admin()) == {"0", "1", "2", "3"}
    assert own(person("ann")) == {"0"}
    assert own(Principal(tenant="acme", subject="ann", key_id="k1")) == {"0"}
    assert own(service("k1")) == {"1"} and own(service("k9")) == set()
    assert own(service("key-ann")) == set(), "a person's rows are not its key's"
    assert own(NOBODY) == set(), "whoever has neither name nor key owns nothing"


MINE = Rights.of([], [], "ann")


@pytest.mark.parametrize(
    ("who", "rights", "key_id", "may"),
    [
        (admin(), Rights(), "", True),
        (person("ann"), MINE, "", True),
        (person("ben"), MINE, "key-ben", False),
        (person("ann"), Rights.of(["public"]), "key-ann", False),
        (person("ann"), Rights.of([], ["user:ann"], "ann"), "key-ann", False),
        (service("k1"), Rights(), "k1", True),
        (service("k1"), Rights(), "k2", False),
        (service(""), Rights(), "", False),
        (service("k1"), MINE, "", False),
    ],
)
def test_who_may_change(who: Principal, rights: Rights, key_id: str, may: bool) -> None:
    assert sql.may_change(who, rights, key_id) is may


def test_a_document_to_change_is_found_by_those_who_may(db: Connection) -> None:
    add(db, "a", MINE, key_id="key-ann")
    add(db, "s", Rights.of(["public"]), key_id="k1")
    add(db, "gone", MINE, deleted_at="now")
    row, rights = sql.to_change(db, person("ann"), "a")
    assert (row.id, rights) == ("a", MINE)
    assert sql.to_change(db, service("k1"), "s")[0].id == "s"
    said = set()
    for who, name in (
        (person("ben"), "a"),
        (person("ann"), "gone"),
        (person("ann"), "missing"),
        (admin("other"), "a"),
        (person("ann", tenant="other"), "a"),
        (service("k2"), "s"),
        (person("ben", ingest=False), "a"),
    ):
        with pytest.raises(NotFound) as caught:
            sql.to_change(db, who, name)
        said.add(caught.value.message)
    assert len(said) == 1
    with pytest.raises(ScopeMissing, match="'ingest'"):
        sql.to_change(db, person("ann", ingest=False), "a")


def test_a_locked_document_lives(db: Connection) -> None:
    add(db, "a", MINE)
    add(db, "gone", MINE, deleted_at="now")
    found = sql.lock_document(db, documents.c.id == "a")
    assert found is not None and (found[0].id, found[1]) == ("a", MINE)
    assert sql.lock_document(db, documents.c.id == "gone") is None
    assert sql.lock_document(db, documents.c.id == "a", documents.c.tenant == "other") is None


def test_rows_are_locked_while_they_are_changed() -> None:
    """SQLite has one writer; on Postgres it must be said."""
    from sqlalchemy.dialects import postgresql

    said: list[str] = []

    class Listening:
        def execute(self, query: Any) -> Any:
            said.append(str(query.compile(dialect=postgresql.dialect())))
            return self

        def one_or_none(self) -> None:
            return None

    there: Any = Listening()
    assert sql.lock_document(there) is None
    assert said[0].endswith("FOR UPDATE")


def test_a_scope_is_needed() -> None:
    sql.need_scope(person("ann"), SCOPE_INGEST)
    with pytest.raises(ScopeMissing):
        sql.need_scope(Principal(tenant="acme", scopes=frozenset({SCOPE_ASK})), SCOPE_INGEST)
