"""Inherited rights on a small database in memory, function by function: fast enough to try every mutant (`make mutants`)."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection
from tests.db.small_levels import HR, INHERITS, NOT_ANN, depends_on, interned, moved, number, put, readers, rights, rule

from bascule.core.errors import InvalidRequest
from bascule.core.rights import Given, Level, Rights
from bascule.db import levels as sql
from bascule.db.level_tables import levels
from bascule.db.rights import intern, rights_of
from bascule.db.tables import acl_entries, acls, collections, documents

pytestmark = pytest.mark.usefixtures("places")


# ---------------------------------------------------------------- what a document was given


@pytest.mark.parametrize(
    "given",
    [
        INHERITS,
        Given(allow=None, deny=frozenset({"user:ann"}), owner="olga"),
        Given(allow=frozenset()),
        Given(allow=frozenset({"public"}), deny=frozenset({"user:ann"}), owner="olga"),
    ],
)
@pytest.mark.parametrize("denies", [False, True])
def test_what_was_given_comes_back(db: Connection, given: Given, denies: bool) -> None:
    rule(db, "collection", "c", NOT_ANN if denies else HR)
    acl_id = interned(db, given)
    assert sql.given_of(db, acl_id) == given
    row = db.execute(sa.select(acls).where(acls.c.id == acl_id)).one()
    assert sql.parse_given(row.canonical, row.given) == given
    assert interned(db, given) == acl_id
    level = Level(kind="collection", name="c", allow=frozenset(), deny=frozenset({"user:ann"}))
    if denies:
        assert rights_of(db, acl_id).deny == given.deny | level.deny
    assert row.tenant == "acme" and len(row.digest) == 64


def test_rights_of_its_own_are_interned_as_they_are_while_nothing_above_denies(db: Connection) -> None:
    rule(db, "collection", "c", HR)
    own = Given(allow=frozenset({"public"}), deny=frozenset({"user:ben"}), owner="olga")
    acl_id = interned(db, own)
    assert acl_id == intern(db, "acme", Rights.of(["public"], ["user:ben"], "olga"))
    assert depends_on(db, acl_id) == set()
    rule(db, "source", "upload", NOT_ANN)
    other = interned(db, own)
    assert other != acl_id and depends_on(db, other) == {"upload"}, "it depends on levels that deny, and on no other"


def test_who_inherits_depends_on_every_level_above_it(db: Connection) -> None:
    for kind, target in (("collection", "c"), ("source", "upload"), ("folder", "c/a/"), ("folder", "c/a/b/")):
        rule(db, kind, target, HR)
    for kind, target in (("collection", "c2"), ("source", "web"), ("folder", "c/b/"), ("folder", "c2/a/")):
        rule(db, kind, target, NOT_ANN)
    rule(db, "collection", "c", NOT_ANN, tenant="other")
    acl_id = interned(db, INHERITS, "a/b/doc")
    assert depends_on(db, acl_id) == {"c", "upload", "c/a/", "c/a/b/"}
    assert rights_of(db, acl_id) == HR
    assert depends_on(db, interned(db, INHERITS, "a/doc")) == {"c", "upload", "c/a/"}
    assert depends_on(db, interned(db, INHERITS, "a")) == {"c", "upload"}, "a file is not its own folder"
    assert depends_on(db, interned(db, INHERITS, "a/")) == {"c", "upload", "c/a/"}
    rows = sql.covering(db, "acme", "c", "upload", "a/b/doc")
    assert [row.target for row in rows] == ["c", "upload", "c/a/", "c/a/b/"], "in the order they were made"


def test_a_number_is_one_place_and_one_gift_of_one_tenant(db: Connection) -> None:
    rule(db, "folder", "c/a/", HR)
    rule(db, "folder", "c/b/", HR)
    rule(db, "collection", "o", HR, tenant="other")
    here = interned(db, INHERITS, "a/1")
    assert interned(db, INHERITS, "a/2") == here
    others = {
        interned(db, INHERITS, "b/1"),
        interned(db, INHERITS, "1"),
        interned(db, Given(allow=None, owner="olga"), "a/1"),
        interned(db, INHERITS, "a/1", tenant="other", collection_id="o"),
        interned(db, INHERITS, "a/1", tenant="other"),
    }
    assert len(others) == 5 and here not in others
    plain = intern(db, "acme", Rights())
    assert interned(db, INHERITS, "1") != plain, "who inherits nothing is not one who was given nothing"


def test_the_entries_are_the_rights_in_force(db: Connection) -> None:
    rule(db, "collection", "c", Rights.of(["group:hr"], ["user:ben"]))
    acl_id = interned(db, Given(allow=None, deny=frozenset({"user:zoe"}), owner="olga"))
    rows = {tuple(row) for row in db.execute(sa.select(acl_entries).where(acl_entries.c.acl_id == acl_id))}
    assert rows == {
        (acl_id, "allow", "group:hr", "acme"),
        (acl_id, "deny", "user:ben", "acme"),
        (acl_id, "deny", "user:zoe", "acme"),
        (acl_id, "owner", "olga", "acme"),
    }


@pytest.mark.parametrize(
    "given",
    [
        Given(allow=frozenset({"everybody"})),
        Given(allow=None, deny=frozenset({"everybody"})),
        Given(allow=None, owner="a\nb"),
    ],
)
def test_what_is_no_mark_is_refused_at_every_place(db: Connection, given: Given) -> None:
    rule(db, "collection", "c", NOT_ANN)
    before = len(db.execute(sa.select(acls)).all())
    with pytest.raises(InvalidRequest):
        interned(db, given)
    assert len(db.execute(sa.select(acls)).all()) == before
    if not given.owner:
        with pytest.raises(InvalidRequest):
            rule(db, "collection", "c", Rights(allow=given.allow or frozenset(), deny=given.deny))


def test_an_owner_with_a_lone_surrogate_is_interned(db: Connection) -> None:
    rule(db, "collection", "c", HR)
    strange = Given(allow=None, owner="\udc80")
    assert interned(db, strange) == interned(db, strange)


# ---------------------------------------------------------------- levels


def test_levels_come_back_by_their_names(db: Connection) -> None:
    for kind, target in (("collection", "c"), ("source", "web/1"), ("folder", "c2/a/b/")):
        rule(db, kind, target, Rights.of(["group:hr"], ["user:ann"]))
    rows = db.execute(sa.select(levels).order_by(levels.c.id)).all()
    marks = {"allow": frozenset({"group:hr"}), "deny": frozenset({"user:ann"})}
    assert sql.level_names(db, iter(rows)) == [
        Level(kind="collection", name="name-c", **marks),
        Level(kind="source", name="web/1", **marks),
        Level(kind="folder", name="a/b/", collection="name-c2", **marks),
    ]
    assert [sql.level_of(row).name for row in rows] == ["c", "web/1", "a/b/"]
    assert sql.level_of(rows[0], "shown") == Level(kind="collection", name="shown", **marks)
    assert sql.level_of(rows[2]).collection == ""
    db.execute(sa.delete(collections))
    nameless = sql.level_names(db, rows)
    assert [(level.name, level.collection) for level in nameless] == [("c", ""), ("web/1", ""), ("a/b/", "")]


def test_a_collections_own_level_is_made_once_and_has_no_owner(db: Connection) -> None:
    sql.ensure_collection_level(db, "acme", "c", Rights.of(["public"], ["user:ann"], "olga"))
    sql.ensure_collection_level(db, "acme", "c2", Rights.of(["public"], [], "olga"))
    sql.ensure_collection_level(db, "acme", "c", Rights())
    rows = db.execute(sa.select(levels).order_by(levels.c.id)).all()
    assert [tuple(row)[1:] for row in rows] == [
        ("acme", "collection", "c", Rights.of(["public"], ["user:ann"]).canonical(), True),
        ("acme", "collection", "c2", Rights.of(["public"]).canonical(), False),
    ]


def test_a_level_remembers_that_it_once_denied(db: Connection) -> None:
    def denies(target: str) -> bool:
        return bool(db.execute(sa.select(levels.c.denies).where(levels.c.target == target)).scalar_one())

    rule(db, "source", "web", HR)
    rule(db, "source", "upload", HR)
    rule(db, "source", "web", HR, tenant="other")
    assert not denies("upload")
    rule(db, "source", "upload", NOT_ANN)
    assert denies("upload")
    rule(db, "source", "upload", HR)
    assert denies("upload"), "sets of rights depend on it since then"
    rows = db.execute(sa.select(levels).order_by(levels.c.id)).all()
    assert [(row.tenant, row.target, row.rights) for row in rows] == [
        ("acme", "web", HR.canonical()),
        ("acme", "upload", HR.canonical()),
        ("other", "web", HR.canonical()),
    ]


# ---------------------------------------------------------------- a change of a level


def test_a_change_is_in_force_for_all_under_it_and_moves_no_number(db: Connection) -> None:
    rule(db, "collection", "c", HR)
    rule(db, "collection", "c2", HR)
    one, two, own = (
        put(db, "a/1"),
        put(db, "2", Given(allow=None, owner="olga")),
        put(db, "3", Given(allow=frozenset())),
    )
    beside = put(db, "a/1", collection_id="c2")
    numbers = [number(db, name) for name in (one, two, own, beside)]
    assert [readers(db, name) for name in (one, two, own, beside)] == [[True, False]] * 2 + [[False] * 2, [True, False]]
    assert rule(db, "collection", "c", Rights.of(["user:ben"])) == 0
    assert [readers(db, name) for name in (one, two, own, beside)] == [[False, True]] * 2 + [[False] * 2, [True, False]]
    assert rights(db, two) == Rights.of(["user:ben"], owner="olga")
    assert [number(db, name) for name in (one, two, own, beside)] == numbers and moved(db) == []
    tenants = db.execute(sa.select(acl_entries.c.tenant).where(acl_entries.c.acl_id == numbers[0])).scalars().all()
    assert tenants == ["acme"]


def test_other_levels_above_still_count_when_one_changes(db: Connection) -> None:
    rule(db, "collection", "c", Rights.of(["public"]))
    rule(db, "folder", "c/a/", Rights.of([], ["user:ben"]))
    rule(db, "source", "upload", Rights.of(["group:hr"]))
    name = put(db, "a/1")
    assert rights(db, name) == Rights.of(["group:hr"], ["user:ben"])
    rule(db, "source", "upload", Rights())
    assert rights(db, name) == Rights.of(["public"], ["user:ben"])
    rule(db, "source", "upload", Rights())
    assert (rights(db, name), readers(db, name)) == (Rights.of(["public"], ["user:ben"]), [True, False])
    rule(db, "collection", "c", HR)
    assert readers(db, name) == [True, False] and rights(db, name) == Rights.of(["group:hr"], ["user:ben"])


def test_several_sets_under_a_level_all_follow_even_behind_one_that_stays(db: Connection) -> None:
    rule(db, "collection", "c", HR)
    rule(db, "folder", "c/a/", Rights.of(["user:ben"]))
    stays, follows = put(db, "a/1"), put(db, "1")
    rule(db, "collection", "c", Rights.of(["public"]))
    assert rights(db, stays) == Rights.of(["user:ben"]) and rights(db, follows) == Rights.of(["public"])
    assert readers(db, follows) == [True, True] and readers(db, stays) == [False, True]


def test_a_new_level_takes_in_who_inherits_and_moves_them_in_the_index(db: Connection) -> None:
    inside, own, outside = put(db, "a/1"), put(db, "a/2", Given(allow=frozenset({"public"}))), put(db, "b/1")
    before = [number(db, name) for name in (own, outside)]
    assert rule(db, "folder", "c/a/", HR) == 1
    assert rights(db, inside) == HR and readers(db, inside) == [True, False]
    assert [number(db, name) for name in (own, outside)] == before
    assert moved(db) == [("move", "acme", inside, "c", number(db, inside))]
    assert rule(db, "folder", "c/a/", HR) == 0 and len(moved(db)) == 1, "who depends on it already stays"


def test_a_level_that_denies_takes_in_all(db: Connection) -> None:
    own, inherits = put(db, "a/1", Given(allow=frozenset({"public"}), owner="olga")), put(db, "a/2")
    assert rule(db, "folder", "c/a/", HR) == 1
    assert rule(db, "folder", "c/a/", NOT_ANN) == 1
    assert rights(db, own) == Rights.of(["public"], ["user:ann"], "olga") and readers(db, own) == [False, True]
    assert rights(db, inherits) == NOT_ANN
    assert [row[2] for row in moved(db)] == [inherits, own]
    assert rule(db, "folder", "c/a/", HR) == 0
    assert rights(db, own) == Rights.of(["public"], owner="olga") and readers(db, own) == [True, True]


def test_what_is_not_under_a_level_is_left_alone(db: Connection) -> None:
    inside = put(db, "x_/1")
    others = [
        put(db, "xa/1"),
        put(db, "x_", source="web"),
        put(db, "x_/1", collection_id="c2"),
        put(db, "x_/1", tenant="other", collection_id="o"),
        put(db, "x_/gone", deleted_at="now"),
    ]
    before = [number(db, name) for name in others]
    assert rule(db, "folder", "c/x_/", NOT_ANN) == 1
    assert [number(db, name) for name in others] == before and rights(db, inside) == NOT_ANN
    assert rule(db, "source", "web", NOT_ANN) == 1
    assert rights(db, "c:x_") == NOT_ANN and rights(db, "c:xa/1") == Rights()
    assert rule(db, "collection", "c2", NOT_ANN) == 1 and rights(db, "c2:x_/1") == NOT_ANN
    assert [number(db, name) for name in others[3:]] == before[3:]


def test_rights_that_are_still_to_come_follow_too_and_move_nothing_yet(db: Connection) -> None:
    """A new version waits with rights of its own: `pending_acl_id`."""
    own = Given(allow=frozenset({"public"}))
    name = put(db, "a/1", own, pending_acl_id=interned(db, INHERITS, "a/1"))
    both = put(db, "a/2", own, pending_acl_id=interned(db, own, "a/2"))
    served = number(db, name)
    assert rule(db, "folder", "c/a/", HR) == 0
    assert rights_of(db, number(db, name, "pending_acl_id")) == HR and number(db, name) == served
    assert moved(db) == []
    assert number(db, both, "pending_acl_id") == number(db, both) == served
    db.execute(sa.update(documents).where(documents.c.id == name).values(acl_id=number(db, name, "pending_acl_id")))
    db.execute(sa.update(documents).where(documents.c.id == name).values(pending_acl_id=interned(db, own, "a/1")))
    assert rule(db, "folder", "c/a/", NOT_ANN) == 1
    assert rights_of(db, number(db, name, "pending_acl_id")) == Rights.of(["public"], ["user:ann"])
    assert rights(db, both) == Rights.of(["public"], ["user:ann"])
    assert [row[2] for row in moved(db)] == [both]


def test_a_document_that_was_never_in_search_moves_nothing_there(db: Connection) -> None:
    new = put(db, "a/1", version=0)
    assert rule(db, "folder", "c/a/", HR) == 1
    assert rights(db, new) == HR and moved(db) == []


def test_a_document_is_placed_again_where_it_is_now(db: Connection) -> None:
    rule(db, "source", "web", HR)
    name, gone = put(db, "1"), put(db, "2", deleted_at="now")
    assert sql.place_again(db, name) is False
    db.execute(sa.update(documents).values(source="web"))
    assert sql.place_again(db, name) is True and rights(db, name) == HR
    assert sql.place_again(db, gone) is False and rights(db, gone) == Rights()
    assert sql.place_again(db, "missing") is False
    assert moved(db) == [("move", "acme", name, "c", number(db, name))]


def test_rows_are_locked_on_postgres() -> None:
    """SQLite has one writer. A level is shared by those who read it, and nobody's while it changes."""
    from sqlalchemy.dialects import postgresql

    said: list[str] = []

    class Listening:
        def execute(self, query: Any) -> Any:
            said.append(str(query.compile(dialect=postgresql.dialect())))
            return self

        def all(self) -> list[Any]:
            return []

        def one_or_none(self) -> None:
            return None

    there: Any = Listening()
    assert list(sql.covering(there, "acme", "c", "upload", "a/b")) == []
    assert sql.place_again(there, "d") is False
    assert said[0].endswith("ORDER BY levels.id FOR SHARE") and said[1].endswith("FOR UPDATE")
