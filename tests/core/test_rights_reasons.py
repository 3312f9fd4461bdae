"""The rule of rights, branch by branch: each answer with the whole reason for it. `make mutants` tries every small change to it."""

from __future__ import annotations

import pytest

from bascule.core.errors import InvalidRequest
from bascule.core.principals import ALL_SCOPES, SCOPE_ADMIN, SCOPE_ASK, Principal, system_principal
from bascule.core.rights import (
    Given,
    Level,
    LevelKind,
    Reason,
    Rights,
    effective,
    lets_in,
    may_read,
    narrowest_first,
    parse_mark,
    reason,
)

ANN = Principal(tenant="t", subject="ann", groups=frozenset({"hr", "all"}), roles=frozenset({"lead"}))
NOBODY = Principal(tenant="t")
HR, IT, ALL, PUBLIC = "group:hr", "group:it", "group:all", "public"


def marks(*given: str) -> frozenset[str]:
    return frozenset(given)


def level(kind: LevelKind, name: str, allow: frozenset[str] = marks(), deny: frozenset[str] = marks()) -> Level:
    return Level(kind=kind, name=name, allow=allow, deny=deny)


def test_what_a_document_was_given_are_its_rights_whole():
    rights = Rights.of(["public"], ["user:ben"], "ann")
    assert (rights.allow, rights.deny, rights.owner) == (marks("public"), marks("user:ben"), "ann")
    assert Given.of(rights) == Given(allow=marks("public"), deny=marks("user:ben"), owner="ann")
    assert rights.canonical() == "+public\n-user:ben\n=ann"
    assert Rights.of(["user:b", "user:a"]).canonical() == "+user:a\n+user:b\n="


@pytest.mark.parametrize("name", ["x", "x" * 200, "a/b", "ä"])
def test_names_of_1_to_200_characters_are_marks(name):
    for kind in ("user", "group", "role"):
        assert parse_mark(f"{kind}:{name}") == f"{kind}:{name}"


@pytest.mark.parametrize(
    "text", ["user:" + "x" * 201, "users:x", "xpublic", "user:x,y", "user:\x1f", "User:x", "publicx"]
)
def test_nothing_else_is_a_mark_and_the_field_is_named(text):
    with pytest.raises(InvalidRequest) as refused:
        parse_mark(text)
    assert refused.value.param == "allow"
    for given in ({"allow": [text]}, {"deny": [text]}):
        with pytest.raises(InvalidRequest):
            Rights.of(**given)


def test_the_narrowest_comes_first_folders_by_depth_then_source_then_collection():
    ordered = [
        level("folder", "a/b/"),
        level("folder", "a/"),
        level("folder", "b/"),
        level("source", "s"),
        level("collection", "a-much-longer-name"),
        level("collection", "c"),
    ]
    assert narrowest_first(reversed(ordered)) == ordered
    assert narrowest_first(ordered) == ordered


def test_the_narrowest_level_that_lets_anybody_in_says_who():
    silent, folder, source = level("folder", "a/b/"), level("folder", "a/", marks(HR)), level("source", "s", marks(IT))
    assert lets_in([source, silent, folder]) == folder
    assert lets_in([source, silent]) == source
    assert lets_in([silent]) is None
    assert lets_in([]) is None


def test_rights_in_force_are_the_given_allow_or_the_inherited_one_and_every_deny():
    levels = [level("source", "s", marks(IT), marks(ALL)), level("collection", "c", marks(PUBLIC), marks("role:x"))]
    own = Given(allow=marks(HR), deny=marks("user:ben"), owner="ann")
    denied = marks("user:ben", ALL, "role:x")
    assert effective(own, levels) == Rights(allow=marks(HR), deny=denied, owner="ann")
    assert effective(Given(allow=marks()), levels).allow == marks()
    inherits = Given(allow=None, deny=marks("user:ben"), owner="ann")
    assert effective(inherits, levels) == Rights(allow=marks(IT), deny=denied, owner="ann")
    assert effective(inherits, []) == Rights(deny=marks("user:ben"), owner="ann")


def no(**more: str) -> Reason:
    return Reason(allowed=False, **more)


def yes(**more: str) -> Reason:
    return Reason(allowed=True, **more)


FOLDER, SOURCE = level("folder", "a/", marks(HR, ALL)), level("source", "s", marks(IT))
SHUT = level("folder", "a/", marks(HR), marks(HR, ALL))
SHUT_WIDE = level("collection", "c", marks(), marks(HR))
REASONS = [
    (Given(allow=marks(HR, ALL)), [], yes(effect="allow", level="document", mark=ALL)),
    (Given(allow=marks(IT)), [FOLDER], no(effect="none")),
    (Given(allow=marks(HR, "group:aa")), [], yes(effect="allow", level="document", mark=HR)),
    (Given(allow=marks(HR)), [FOLDER], yes(effect="allow", level="document", mark=HR)),
    (Given(allow=marks()), [FOLDER], no(effect="none")),
    (Given(allow=None), [], no(effect="none")),
    (Given(allow=None), [SOURCE], no(effect="none")),
    (Given(allow=None), [SOURCE, FOLDER], yes(effect="allow", level="folder", name="a/", mark=ALL)),
    (
        Given(allow=None),
        [level("source", "s", marks("user:ann"))],
        yes(effect="allow", level="source", name="s", mark="user:ann"),
    ),
    (Given(allow=marks("user:ann"), owner="ann"), [], yes(effect="owner", level="document", mark="user:ann")),
    (Given(allow=marks(), owner="ann"), [FOLDER], yes(effect="owner", level="document", mark="user:ann")),
    (Given(allow=marks(), owner="ben"), [], no(effect="none")),
    (
        Given(allow=marks("user:ann"), deny=marks(HR, "user:ann"), owner="ann"),
        [SHUT],
        no(effect="deny", level="document", mark=HR),
    ),
    (Given(allow=marks(HR), owner="ann"), [SHUT_WIDE, SHUT], no(effect="deny", level="folder", name="a/", mark=ALL)),
    (Given(allow=marks(HR)), [SHUT_WIDE], no(effect="deny", level="collection", name="c", mark=HR)),
]


@pytest.mark.parametrize(("own", "levels", "expected"), REASONS)
def test_the_reason_names_the_rule_that_decided(own, levels, expected):
    assert reason(own, levels, ANN) == expected
    assert may_read(effective(own, levels), ANN) == expected.allowed


def test_administrators_read_whatever_is_denied_and_a_document_of_nobody_is_nobodys():
    for who in (Principal(tenant="t", subject="ann", scopes=frozenset({SCOPE_ADMIN})), system_principal("t")):
        shut = Given(allow=marks(), deny=marks(PUBLIC), owner="ben")
        assert reason(shut, [], who) == yes(effect="admin")
        assert may_read(effective(shut, []), who) is True
    assert reason(Given(allow=marks()), [], NOBODY) == no(effect="none")
    assert may_read(Rights(), NOBODY) is False
    assert may_read(Rights(allow=marks(PUBLIC)), NOBODY) is True
    assert may_read(Rights(owner="ann"), ANN) is True
    assert may_read(Rights(owner="ben"), ANN) is False
    assert may_read(Rights(allow=marks(PUBLIC), deny=marks("role:lead"), owner="ann"), ANN) is False


def test_marks_are_public_and_what_the_principal_is():
    assert ANN.marks() == marks(PUBLIC, "user:ann", HR, ALL, "role:lead")
    assert NOBODY.marks() == marks(PUBLIC)


def test_an_administrator_has_every_scope_and_nobody_has_one_that_was_not_given():
    asks = Principal(tenant="t", scopes=frozenset({SCOPE_ASK}))
    assert asks.can(SCOPE_ASK) and not asks.can("ingest") and not asks.is_admin
    assert Principal(tenant="t", scopes=frozenset({SCOPE_ADMIN})).can("ingest")
    assert Principal(tenant="t", system=True).is_admin and not NOBODY.is_admin and not NOBODY.can("")


def test_the_systems_own_principal_is_of_one_tenant_and_of_no_person():
    assert system_principal("t") == Principal(tenant="t", subject="", scopes=ALL_SCOPES, system=True)


def test_a_group_that_a_credential_leaves_out_lets_nobody_in_and_shuts_out_as_ever():
    ann = Principal(tenant="t", subject="ann", groups=frozenset({"all"}), unused_groups=frozenset({"hr"}))
    assert ann.marks() == marks("public", "user:ann", ALL)
    assert ann.shutting_marks() == marks("public", "user:ann", ALL, HR)
    assert not may_read(Rights(allow=marks(ALL), deny=marks(HR)), ann)
    assert not may_read(Rights(allow=marks(HR)), ann)
    assert may_read(Rights(allow=marks(ALL), deny=marks(IT)), ann)
    assert not may_read(Rights(deny=marks(HR), owner="ann"), ann)
    shut = reason(Given(allow=marks(ALL), deny=marks(HR)), [], ann)
    assert shut == Reason(allowed=False, effect="deny", level="document", mark=HR)
    assert reason(Given(allow=marks(HR)), [], ann) == Reason(allowed=False, effect="none")
