"""The rule of rights: deny beats allow; none means nobody but the owner and admins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.core.errors import InvalidRequest
from bascule.core.principals import SCOPE_ADMIN, Principal
from bascule.core.rights import Rights, may_read, parse_mark

ANN = Principal(tenant="t", subject="ann", groups=frozenset({"hr"}))
BEN = Principal(tenant="t", subject="ben")
ADMIN = Principal(tenant="t", scopes=frozenset({SCOPE_ADMIN}))
marks = st.sampled_from(["public", "user:ann", "user:ben", "group:hr", "group:it", "role:lead"])


def test_no_rights_at_all_mean_nobody_but_owner_and_admins() -> None:
    rights = Rights.of(owner="ben")
    assert not may_read(rights, ANN)
    assert may_read(rights, BEN)
    assert may_read(rights, ADMIN)


def test_deny_beats_allow_in_whatever_form_it_comes() -> None:
    assert not may_read(Rights.of(allow=["public"], deny=["group:hr"]), ANN)
    assert not may_read(Rights.of(allow=["user:ann"], deny=["group:hr"]), ANN)
    assert not may_read(Rights.of(deny=["user:ben"], owner="ben"), BEN)
    assert may_read(Rights.of(allow=["public"], deny=["group:hr"]), BEN)


@given(st.frozensets(marks), st.frozensets(marks), st.frozensets(st.sampled_from(["hr", "it"])))
def test_adding_a_deny_never_shows_more_and_adding_an_allow_never_shows_less(
    allow: frozenset[str], deny: frozenset[str], groups: frozenset[str]
) -> None:
    who = Principal(tenant="t", subject="ann", groups=groups)
    before = may_read(Rights(allow=allow, deny=deny), who)
    for mark in ("public", "user:ann", "group:hr"):
        assert may_read(Rights(allow=allow, deny=deny | {mark}), who) <= before
        assert may_read(Rights(allow=allow | {mark}, deny=deny), who) >= before


@given(st.frozensets(marks), st.frozensets(marks), st.sampled_from(["", "ann"]))
def test_two_sets_of_rights_share_a_canonical_form_only_when_they_are_equal(
    allow: frozenset[str], deny: frozenset[str], owner: str
) -> None:
    one = Rights(allow=allow, deny=deny, owner=owner)
    assert one.canonical() == Rights(allow=allow, deny=deny, owner=owner).canonical()
    for other in (Rights(allow=deny, deny=allow, owner=owner), Rights(allow=allow, deny=deny, owner="x")):
        assert (one.canonical() == other.canonical()) == (one == other)


@pytest.mark.parametrize(
    "bad", ["", "ann", "user:", "user: x", "group:a,b", "PUBLIC", "public ", "user:a\nb", "team:x"]
)
def test_a_malformed_right_is_refused_with_the_forms_there_are(bad: str) -> None:
    with pytest.raises(InvalidRequest, match="group:NAME"):
        parse_mark(bad)


def test_a_key_without_a_subject_matches_public_and_its_groups_only() -> None:
    assert Principal(tenant="t", groups=frozenset({"g"})).marks() == {"public", "group:g"}
    assert not may_read(Rights.of(owner=""), Principal(tenant="t"))
