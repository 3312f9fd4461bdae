"""Credentials that are held say nothing when they are shown, whatever shows them."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bascule.bootstrap import plugins
from bascule.core.resources import Resources
from bascule.core.secret import Secret, bearer_header
from bascule.plugins.policies import http_guard
from bascule.plugins.providers import anthropic, azure_openai, gemini, openai
from bascule.plugins.providers.bedrock import signing
from bascule.plugins.rerankers import cohere, jina, voyage

PLANTED = "PlantedKey0123456789"
REFERENCE = "env:SECRET_OF_THE_TEST"


def test_a_secret_is_used_as_text_and_shown_as_nothing():
    secret = Secret(PLANTED)
    assert secret == PLANTED and hash(secret) == hash(PLANTED) and secret.encode() == PLANTED.encode()
    for shown in (
        repr(secret),
        f"{secret!r}",
        repr([secret]),
        repr({"a": (secret,)}),
        repr(bearer_header(secret)),
        f"{secret!r}",
    ):
        assert PLANTED not in shown and "***" in shown
    assert copy.deepcopy([secret])[0] is secret and copy.copy(secret) is secret
    for store in (pickle.dumps, msgspec.json.encode, msgspec.msgpack.encode):
        with pytest.raises(TypeError):
            store(secret)


@pytest.mark.parametrize("scheme", ["env", "file"])
def test_what_a_reference_leads_to_is_a_secret(scheme, monkeypatch, tmp_path):
    monkeypatch.setenv("SECRET_OF_THE_TEST", PLANTED)
    (tmp_path / "key").write_text(PLANTED + "\n")
    found = plugins.secret(REFERENCE if scheme == "env" else f"file:{tmp_path}/key")
    assert type(found) is Secret and found == PLANTED


def plain_copies(root: object) -> list[str]:
    """Where in what an object holds, and in what that holds, the planted key stands as plain text."""
    found, seen = [], set()
    waiting: list[tuple[str, object]] = [("", root)]
    while waiting:
        place, thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, type | Path) or (callable(thing) and not hasattr(thing, "__dict__")):
            continue
        seen.add(id(thing))
        if isinstance(thing, str | bytes):
            text = thing if isinstance(thing, str) else thing.decode("latin-1")
            found += [place] if PLANTED in text and type(thing) is not Secret else []
        elif isinstance(thing, dict):
            waiting += [(f"{place}[{key!r}]", each) for key, value in thing.items() for each in (key, value)]
        elif isinstance(thing, list | tuple | set | frozenset):
            waiting += [(f"{place}[]", each) for each in thing]
        elif type(thing).__module__.startswith("bascule"):
            slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
            waiting += [
                (f"{place}.{name}", getattr(thing, name, None)) for name in [*slots, *getattr(thing, "__dict__", ())]
            ]
    return found


HELD: list[tuple[Any, dict[str, Any]]] = [
    (openai, {"base_url": "http://127.0.0.1:9/v1", "api_key": REFERENCE}),
    (anthropic, {"api_key": REFERENCE}),
    (gemini, {"api_key": REFERENCE}),
    (azure_openai, {"base_url": "https://x.openai.azure.com", "api_key": REFERENCE}),
    (http_guard, {"url": "http://127.0.0.1:9/", "api_key": REFERENCE}),
    (cohere, {"api_key": REFERENCE}),
    (jina, {"api_key": REFERENCE}),
    (voyage, {"api_key": REFERENCE}),
]


@pytest.mark.parametrize(("plugin", "given"), HELD, ids=[plugin.__name__.rpartition(".")[2] for plugin, _ in HELD])
async def test_plugins_hold_their_credentials_as_secrets_only(plugin, given, tmp_path):
    resources = Resources(http=None, data=tmp_path, models=tmp_path, secret=lambda reference: Secret(PLANTED))  # type: ignore[arg-type]
    async with plugin.connect(plugin.Settings(**given), resources) as opened:
        assert plain_copies(opened) == []


def test_signers_hold_secrets_and_a_plain_copy_would_be_found():
    assert plain_copies(signing.BearerSigner(Secret(PLANTED))) == []
    assert plain_copies({"a": [f"Bearer {PLANTED}"], "b": Secret(PLANTED)}) == ["['a'][]"]
