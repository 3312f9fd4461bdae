"""A service key speaks for an end user by a token it signs, with the user's rights and none of its own mighty ones."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from types import SimpleNamespace
from typing import Any

import pytest

import bascule.access.act_as
from bascule.access.act_as import LONGEST_S, mint, speak_for
from bascule.core.errors import AuthenticationFailed, InvalidRequest, ScopeMissing
from bascule.core.principals import Principal

KEY = "bsk_" + "s" * 43
SERVICE = Principal(
    tenant="acme", roles=frozenset({"boss"}), scopes=frozenset({"ask", "act_as", "admin", "audit", "scim"}), key_id="k"
)


@pytest.fixture(autouse=True)
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tokens of this file are made when it is read; however late a test runs, they are as fresh as then."""
    monkeypatch.setattr(bascule.access.act_as, "time", SimpleNamespace(time=lambda: float(NOW)))


def groups_of(tenant: str, subject: str) -> frozenset[str] | None:
    return {("acme", "ann"): frozenset({"hr", "it"}), ("acme", "off"): None}.get((tenant, subject), frozenset())


def test_the_end_user_has_its_own_groups_and_the_keys_scopes_but_the_mighty_ones() -> None:
    found = speak_for(SERVICE, KEY, mint(KEY, "ann"), groups_of)
    assert found == Principal(
        tenant="acme", subject="ann", groups=frozenset({"hr", "it"}), scopes=frozenset({"ask"}), key_id="k"
    )
    narrowed = Principal(tenant="acme", groups=frozenset({"it", "board"}), scopes=SERVICE.scopes, key_id="k")
    assert speak_for(narrowed, KEY, mint(KEY, "ann"), groups_of).groups == {"it"}
    assert speak_for(SERVICE, KEY, mint(KEY, "stranger"), groups_of).groups == frozenset()


def test_a_key_that_narrows_the_users_groups_keeps_those_it_leaves_out_for_what_is_closed_to_them() -> None:
    narrow = Principal(tenant="acme", groups=frozenset({"it", "web"}), scopes=frozenset({"ask", "act_as"}), key_id="k")
    found = speak_for(narrow, KEY, mint(KEY, "ann"), groups_of)
    assert (found.groups, found.unused_groups) == (frozenset({"it"}), frozenset({"hr"}))


def test_an_administrator_without_the_scope_may_not() -> None:
    for scopes in (frozenset({"admin"}), frozenset({"ask"})):
        with pytest.raises(ScopeMissing):
            speak_for(Principal(tenant="acme", scopes=scopes, key_id="k"), KEY, mint(KEY, "ann"), groups_of)


def signed(key: str, header: Any, claims: Any) -> str:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    body = f"{part(header)}.{part(claims)}"
    own = hmac.digest(key.encode(), b"bascule act-as v1", hashlib.sha256)
    mac = hmac.digest(own, body.encode(), hashlib.sha256)
    return f"{body}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


NOW = int(time.time())
GOOD: dict[str, Any] = {"sub": "ann", "aud": "bascule", "iat": NOW, "exp": NOW + 200}
HS = {"alg": "HS256"}


def test_a_token_made_by_any_jwt_library_is_understood() -> None:
    assert speak_for(SERVICE, KEY, signed(KEY, HS, GOOD), groups_of).subject == "ann"


@pytest.mark.parametrize(
    "token",
    [
        "",
        "ann",
        "user:ann",
        "a.b.c",
        mint(KEY + "x", "ann"),
        mint(KEY, "off"),
        mint(KEY, "ann").rpartition(".")[0] + ".",
        mint(KEY, "ann") + "A" * 5000,
        mint(KEY, "ann", now_s=NOW - 300),
        mint(KEY, "ann", now_s=NOW + 86_400),
        signed(KEY, {"alg": "none"}, GOOD),
        signed(KEY, {"alg": "RS256"}, GOOD),
        signed(KEY, HS | {"crit": ["x"]}, GOOD),
        signed(KEY, HS, GOOD | {"aud": "other"}),
        signed(KEY, HS, GOOD | {"exp": NOW + LONGEST_S * 2}),
        signed(KEY, HS, GOOD | {"exp": NOW + LONGEST_S + 1}),
        signed(KEY, HS, GOOD | {"exp": True}),
        signed(KEY, HS, GOOD | {"iat": None}),
        signed(KEY, HS, GOOD | {"sub": "a b"}),
        signed(KEY, HS, GOOD | {"sub": None}),
        signed(KEY, HS, [1]),
        signed(KEY, [1], GOOD),
    ],
)
def test_every_other_token_is_refused_alike(token: str) -> None:
    with pytest.raises(AuthenticationFailed) as caught:
        speak_for(SERVICE, KEY, token, groups_of)
    assert caught.value.message == "The token for an end user is not valid."


def test_a_changed_subject_is_refused() -> None:
    head, _, signature = mint(KEY, "ann").split(".")
    body = mint(KEY, "root").split(".")[1]
    with pytest.raises(AuthenticationFailed):
        speak_for(SERVICE, KEY, f"{head}.{body}.{signature}", groups_of)


@pytest.mark.parametrize(("user", "lasts_s"), [("a b", 10.0), ("", 10.0), ("ann", 0.0), ("ann", 301.0)])
def test_a_token_that_could_not_be_used_is_not_signed(user: str, lasts_s: float) -> None:
    with pytest.raises(InvalidRequest):
        mint(KEY, user, lasts_s)
