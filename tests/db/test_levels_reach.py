"""Which documents a change of a level reaches: those under it and no others, and no more of them than must be placed anew."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection
from tests.db.small_levels import HR, INHERITS, NOT_ANN, interned, put, rights, rule

from bascule.core.rights import Given, Rights
from bascule.db import levels as sql

pytestmark = pytest.mark.usefixtures("places")


def test_a_source_that_is_called_like_a_collection_or_a_folder_is_another_level(db: Connection) -> None:
    """Operators name sources as they like; levels are told apart by their kind, and not by what they are called."""
    inside, from_c2 = put(db, "a/1"), put(db, "a/2", source="c2")
    assert [rule(db, "source", name, HR) for name in ("c", "c/a/", "c2")] == [0, 0, 1]
    for kind, target in (("collection", "c2"), ("collection", "c"), ("folder", "c/a/")):
        rule(db, kind, target, Rights.of([f"role:{kind}-{target}"]))
    assert rights(db, inside).allow == {"role:folder-c/a/"}
    assert rights(db, from_c2).allow == {"role:folder-c/a/"}
    rule(db, "source", "c", NOT_ANN)
    rule(db, "source", "c/a/", NOT_ANN)
    rule(db, "collection", "c2", NOT_ANN)
    assert not rights(db, inside).deny and not rights(db, from_c2).deny
    late, late_from_c2 = put(db, "a/3"), put(db, "a/4", source="c2")
    assert not rights(db, late).deny and not rights(db, late_from_c2).deny
    rule(db, "source", "c2", NOT_ANN)
    assert rights(db, from_c2).deny == {"user:ann"} and not rights(db, inside).deny
    assert rights(db, put(db, "b/1")).allow == {"role:collection-c"}, "each has kept its own rights"


def test_what_is_known_is_looked_up_and_what_depends_already_is_not_looked_at(
    db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or every document of a collection would be written and placed anew with each change of a rule."""
    rule(db, "collection", "c", HR)
    first = interned(db, INHERITS)
    said: list[str] = []

    def listen(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        said.append(statement.split(maxsplit=1)[0])

    sa.event.listen(db.engine, "before_cursor_execute", listen)
    try:
        assert interned(db, INHERITS) == first
    finally:
        sa.event.remove(db.engine, "before_cursor_execute", listen)
    assert said and set(said) == {"SELECT"}
    put(db, "a/1")
    looked_at: list[str] = []
    monkeypatch.setattr(sql, "place_again", lambda _, name: bool(looked_at.append(name)))
    assert rule(db, "collection", "c", Rights.of(["public"])) == 0 and looked_at == []


def test_no_document_is_looked_at_that_the_level_does_not_change(
    db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To look at one locks it: that must not be every document of the tenant, and always in one order."""
    own = Given(allow=frozenset({"public"}))
    rule(db, "folder", "c/d/", NOT_ANN)
    rule(db, "folder", "c/p/", HR)
    under_wild, elsewhere, denied = put(db, "x_/1"), put(db, "b/1"), put(db, "d/1", own)
    open_to_all, inherits = put(db, "a/2", own), put(db, "a/1")
    like_wild, namesake = put(db, "xa/1"), put(db, "a/1", collection_id="c2")
    put(db, "a/gone", deleted_at="now")
    put(db, "a/1", tenant="other", collection_id="o")
    put(db, "p/1", pending_acl_id=interned(db, INHERITS, "p/1"))
    half = put(db, "p/2", pending_acl_id=interned(db, INHERITS, "b/2"))
    looked_at: list[str] = []
    monkeypatch.setattr(sql, "place_again", lambda _, name: bool(looked_at.append(name)))

    def looks(*change: Any) -> list[str]:
        looked_at.clear()
        assert rule(db, *change) == 0
        return list(looked_at)

    assert looks("folder", "c/a/", HR) == [inherits], "who has rights of its own does not inherit"
    assert looks("folder", "c/d/", HR) == [], "it depends on it already"
    assert looks("folder", "c/p/", Rights.of(["public"])) == [half], "what is still to come is not under it yet"
    assert looks("folder", "c/a/", NOT_ANN) == [inherits, open_to_all], "a deny is for all"
    assert looks("folder", "c/x_/", HR) == [under_wild], "a path is no pattern"
    everything = [namesake, inherits, open_to_all, elsewhere, denied, "c:p/1", half, under_wild, like_wild]
    assert looks("source", "upload", NOT_ANN) == sorted(everything), "of this tenant, and living"
