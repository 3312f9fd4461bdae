"""Signed tokens against an issuer of our own over real HTTP: what is let in, and every known way to be let in wrongly."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey, Key, RSAKey

from bascule.access.tokens import ASK_AGAIN_S, KEYS_LAST_S, KEYS_OUTLIVE_S, Issuer, TokenVerifier
from bascule.bootstrap.tokens import getter, issuer_fields, open_tokens
from bascule.core.errors import AuthenticationFailed, ConfigError, StorageError
from bascule.core.principals import Principal
from bascule.settings import IssuerSettings


class LocalIssuer:
    """Publishes a discovery document and keys, and signs."""

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {"k1": RSAKey.generate_key(2048), "e1": ECKey.generate_key("P-256")}
        self.url = ""
        self.reads = 0
        self.down = False
        self.named = ""

    async def discovery(self, _: web.Request) -> web.Response:
        return web.json_response({"issuer": self.named or self.url, "jwks_uri": f"{self.url}/keys"})

    async def published(self, _: web.Request) -> web.Response:
        self.reads += 1
        if self.down:
            return web.Response(status=503)
        keys = [key.as_dict(private=False) | {"kid": kid, "use": "sig"} for kid, key in self.keys.items()]
        return web.json_response({"keys": keys})

    def claims(self, **changed: Any) -> dict[str, Any]:
        now = int(time.time())
        whole = {"iss": self.url, "aud": "bascule", "sub": "ann", "iat": now, "exp": now + 60, "groups": ["hr"]}
        return {name: value for name, value in (whole | changed).items() if value is not None}

    def token(self, kid: str = "k1", header: dict[str, Any] | None = None, **changed: Any) -> str:
        key = self.keys[kid]
        alg = "ES256" if key.key_type == "EC" else "RS256"
        return jwt.encode({"alg": alg, "kid": kid} | (header or {}), self.claims(**changed), key)


@pytest.fixture
async def issuer() -> AsyncGenerator[LocalIssuer]:
    local = LocalIssuer()
    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", local.discovery)
    app.router.add_get("/keys", local.published)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    local.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield local
    await runner.cleanup()


def verifier(issuer: LocalIssuer, clock: Any = time.monotonic, off: tuple[str, ...] = (), **more: Any) -> TokenVerifier:
    given = IssuerSettings(issuer=issuer.url, audience="bascule", **more)
    known = Issuer(name="local", **issuer_fields(given))
    return TokenVerifier([known], getter([given]), lambda _tenant, who: who in off, clock)


async def test_a_token_speaks_for_its_user_with_its_groups(issuer: LocalIssuer) -> None:
    found = await verifier(issuer).principal(issuer.token())
    assert found == Principal(
        tenant="default", subject="ann", groups=frozenset({"hr"}), scopes=frozenset({"chat", "ask"})
    )
    assert (await verifier(issuer).principal(issuer.token("e1"))).subject == "ann"


async def test_claims_are_mapped_as_the_operator_says(issuer: LocalIssuer) -> None:
    checked = verifier(
        issuer,
        tenant_claim="org",
        tenants={"A1": "acme"},
        subject_claim="email",
        groups_claim="",
        roles_claim="roles",
        scopes=("ask", "ingest"),
        scope_claim="scope",
    )
    more = {"org": "A1", "email": "ann@acme.example", "roles": ["boss"], "scope": "ask admin openid"}
    assert await checked.principal(issuer.token(**more)) == Principal(
        tenant="acme", subject="ann@acme.example", roles=frozenset({"boss"}), scopes=frozenset({"ask"})
    )
    for wrong in ({"org": "B2"}, {"org": None}, {"email": None}, {"email": ["x"]}, {"roles": ["a b"]}, {"roles": [1]}):
        with pytest.raises(AuthenticationFailed):
            await checked.principal(issuer.token(**(more | wrong)))


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": 0},
        {"exp": None},
        {"exp": "soon"},
        {"exp": True},
        {"exp": 10**11},
        {"iat": 10**10},
        {"nbf": 10**10},
        {"aud": "another"},
        {"aud": None},
        {"aud": ["x", "y"]},
        {"iss": "http://127.0.0.1:1"},
        {"iss": None},
        {"sub": ""},
        {"sub": None},
        {"sub": "a b"},
        {"groups": ["a,b"]},
        {"groups": [f"g{n}" for n in range(1001)]},
    ],
)
async def test_a_token_with_wrong_claims_is_refused(issuer: LocalIssuer, changed: dict[str, Any]) -> None:
    with pytest.raises(AuthenticationFailed):
        await verifier(issuer).principal(issuer.token(**changed))


async def test_clocks_may_differ_by_a_little_and_one_audience_of_several_is_enough(issuer: LocalIssuer) -> None:
    now, checked = int(time.time()), verifier(issuer)
    assert await checked.principal(issuer.token(exp=now - 5, aud=["x", "bascule"]))
    assert await checked.principal(issuer.token(iat=now + 20, nbf=now + 20))
    with pytest.raises(AuthenticationFailed):
        await checked.principal(issuer.token(exp=now - 31))


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def forged(issuer: LocalIssuer, header: dict[str, Any], key: bytes | None = None) -> str:
    body = f"{part(header)}.{part(issuer.claims())}"
    signature = b"" if key is None else hmac.digest(key, body.encode(), hashlib.sha256)
    return f"{body}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


async def test_a_signature_that_is_none_or_made_with_the_public_key_is_refused(issuer: LocalIssuer) -> None:
    checked = verifier(issuer)
    for none in ("none", "None", "NONE", ""):
        with pytest.raises(AuthenticationFailed):
            await checked.principal(forged(issuer, {"alg": none, "kid": "k1"}))
    public = issuer.keys["k1"]
    for key in (public.as_pem(private=False), json.dumps(public.as_dict(private=False)).encode(), b""):
        with pytest.raises(AuthenticationFailed):
            await checked.principal(forged(issuer, {"alg": "HS256", "kid": "k1"}, key))


async def test_nothing_in_the_header_brings_a_key_along(issuer: LocalIssuer) -> None:
    checked, own = verifier(issuer), RSAKey.generate_key(2048)
    offers = (
        {"jwk": own.as_dict(private=False)},
        {"jku": f"{issuer.url}/keys"},
        {"kid": "../../dev/null"},
        {"kid": "k1' OR '1'='1"},
        {"kid": "e1"},
        {"kid": 7},
        {"kid": None},
        {"crit": ["exp"]},
    )
    for offer in offers:
        body = f"{part({'alg': 'RS256', 'kid': 'k1'} | offer)}.{part(issuer.claims())}"
        from joserfc import jws

        signed = jws.serialize_compact({"alg": "RS256"}, issuer.claims().__repr__(), own).rpartition(".")[2]
        with pytest.raises(AuthenticationFailed):
            await checked.principal(f"{body}.{signed}")


async def test_a_changed_token_and_what_is_no_token_are_refused(issuer: LocalIssuer) -> None:
    checked, good = verifier(issuer), issuer.token()
    head, body, signature = good.split(".")
    admin = part(issuer.claims(sub="root"))
    for bad in (
        f"{head}.{admin}.{signature}",
        f"{head}.{body}.",
        f"{head}.{body}.{signature[:-4]}AAAA",
        f"{head}.{body}",
        f"{head}..{signature}",
        "ey.ey.ey",
        "..",
        f"{head}.{part([1])}.{signature}",
        f"{head}.{part('x')}.{signature}",
        good + "\u00e9",
        "ey" + "a" * 20_000 + "..",
    ):
        with pytest.raises(AuthenticationFailed):
            await checked.principal(bad)
    with pytest.raises(AuthenticationFailed):
        await checked.principal(issuer.token(pad="x" * 20_000))
    assert await checked.principal(good)


async def test_a_rotated_key_is_found_and_unknown_ones_do_not_make_us_ask_again_and_again(issuer: LocalIssuer) -> None:
    now = [1000.0]
    checked = verifier(issuer, lambda: now[0])
    await checked.principal(issuer.token())
    await checked.principal(issuer.token())
    assert issuer.reads == 1
    old = issuer.token()
    stranger = RSAKey.generate_key(2048)
    issuer.keys = {"k2": RSAKey.generate_key(2048)}
    now[0] += ASK_AGAIN_S
    assert await checked.principal(issuer.token("k2"))
    with pytest.raises(AuthenticationFailed):
        await checked.principal(old)
    reads = issuer.reads
    for n in range(20):
        unknown = jwt.encode({"alg": "RS256", "kid": f"x{n}"}, issuer.claims(), stranger)
        with pytest.raises(AuthenticationFailed):
            await checked.principal(unknown)
    assert issuer.reads == reads == 2


async def test_known_keys_outlive_a_short_silence_of_the_issuer_and_no_longer(issuer: LocalIssuer) -> None:
    now = [1000.0]
    checked = verifier(issuer, lambda: now[0])
    await checked.principal(issuer.token())
    issuer.down = True
    now[0] += KEYS_LAST_S + 1
    assert await checked.principal(issuer.token())
    now[0] += KEYS_OUTLIVE_S
    with pytest.raises(StorageError):
        await checked.principal(issuer.token())
    issuer.down = False
    now[0] += ASK_AGAIN_S
    assert await checked.principal(issuer.token())


async def test_a_discovery_document_of_another_issuer_is_not_believed(issuer: LocalIssuer) -> None:
    issuer.named = "https://elsewhere.example"
    with pytest.raises(StorageError):
        await verifier(issuer).principal(issuer.token())


async def test_only_pinned_algorithms_and_users_that_are_on(issuer: LocalIssuer) -> None:
    with pytest.raises(AuthenticationFailed):
        await verifier(issuer, algorithms=("ES256",)).principal(issuer.token("k1"))
    with pytest.raises(AuthenticationFailed):
        await verifier(issuer, off=("ann",)).principal(issuer.token())


def test_the_settings_are_checked() -> None:
    one = IssuerSettings(issuer="https://a.example", audience="b")
    assert open_tokens({}, lambda *_: False) is None
    for wrong in ({"x": one, "y": one}, {"x": one.model_copy(update={"tenant_claim": "org"})}):
        with pytest.raises(ConfigError):
            open_tokens(wrong, lambda *_: False)
