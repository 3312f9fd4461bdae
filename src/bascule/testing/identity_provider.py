"""A real identity provider on loopback, built on Authlib: discovery, sign-in page, codes with PKCE, id tokens, published keys.

`spoil` changes what it says, for the attacks a client must withstand; the protocol around it stays Authlib's.
"""

from __future__ import annotations

import html
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from authlib.oauth2.rfc6749 import AuthorizationServer, OAuth2Request
from authlib.oauth2.rfc6749.errors import OAuth2Error
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core.grants import OpenIDCode
from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, CLIENT_SECRET = "console", "s3cret +/%&=?"


@dataclass
class Client:
    """Implements Authlib's `ClientMixin`."""

    redirect_uri: str
    client_id: str = CLIENT
    client_secret: str = CLIENT_SECRET

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri == self.redirect_uri

    def check_client_secret(self, client_secret: str) -> bool:
        return secrets.compare_digest(client_secret.encode(), self.client_secret.encode())

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == ("client_secret_basic" if self.client_secret else "none")

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "authorization_code"


@dataclass
class Code:
    """Implements Authlib's `AuthorizationCodeMixin`."""

    code: str
    user: str
    redirect_uri: str
    scope: str
    nonce: str | None
    code_challenge: str | None
    code_challenge_method: str | None

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope

    def get_nonce(self) -> str | None:
        return self.nonce

    def get_auth_time(self) -> int:
        return int(time.time())

    def get_acr(self) -> None:
        return None

    def get_amr(self) -> None:
        return None


class _Request(OAuth2Request):  # type: ignore[misc]
    def __init__(self, request: web.Request, values: dict[str, str]) -> None:
        # Authlib wants https; on loopback there is none.
        super().__init__(request.method, "https://provider.example" + request.path_qs, headers=request.headers)
        self.payload = BasicOAuth2Payload(values)
        self._values = values

    @property
    def args(self) -> dict[str, str]:
        return self._values

    @property
    def form(self) -> dict[str, str]:
        return self._values


class _Server(AuthorizationServer):  # type: ignore[misc]
    def __init__(self, provider: IdentityProvider) -> None:
        super().__init__()
        self.provider = provider

    def query_client(self, client_id: str) -> Client | None:
        return self.provider.client if client_id == self.provider.client.client_id else None

    def save_token(self, token: Any, request: Any) -> None:
        return None

    def send_signal(self, name: str, *args: Any, **given: Any) -> None:
        return None

    def create_oauth2_request(self, request: Any) -> Any:
        return request

    def handle_response(self, status: int, body: Any, headers: Any) -> tuple[int, Any, dict[str, str]]:
        return status, body, dict(headers)


class _Grant(AuthorizationCodeGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "none")

    def save_authorization_code(self, code: str, request: Any) -> None:
        given = request.payload.data
        self.server.provider.codes[code] = Code(
            code,
            request.user,
            given["redirect_uri"],
            given.get("scope", ""),
            given.get("nonce"),
            given.get("code_challenge"),
            given.get("code_challenge_method"),
        )

    def query_authorization_code(self, code: str, client: Client) -> Code | None:
        return self.server.provider.codes.get(code)  # type: ignore[no-any-return]

    def delete_authorization_code(self, authorization_code: Code) -> None:
        del self.server.provider.codes[authorization_code.code]

    def authenticate_user(self, authorization_code: Code) -> str:
        return authorization_code.user


class _OpenID(OpenIDCode):  # type: ignore[misc]
    def __init__(self, provider: IdentityProvider) -> None:
        super().__init__(require_nonce=False)
        self._provider = provider

    def exists_nonce(self, nonce: str, request: Any) -> bool:
        return False

    def encode_id_token(self, token: dict[str, Any], request: Any) -> str:
        claims = self._provider.claims(request.user) | self.get_authorization_code_claims(request.authorization_code)
        self._provider.spoil(claims)
        return self._provider.sign({name: value for name, value in claims.items() if value is not None})


def _nothing(claims: dict[str, Any]) -> None:
    return None


@dataclass
class IdentityProvider:
    """`groups` by user. `spoil` may change the claims of the next id tokens; `sign` makes the token of them."""

    url: str = ""
    client: Client = field(default_factory=lambda: Client(""))
    groups: dict[str, list[str]] = field(default_factory=lambda: {"ann": ["staff"]})
    codes: dict[str, Code] = field(default_factory=dict)
    spoil: Callable[[dict[str, Any]], None] = _nothing
    asked: list[dict[str, str]] = field(default_factory=list)
    status: int = 0  # of the token endpoint's page instead of a token, as gateways before it send

    def __post_init__(self) -> None:
        self.key = RSAKey.generate_key(2048)
        self.sign: Callable[[dict[str, Any]], str] = self.signed
        self._server = _Server(self)
        self._server.register_grant(_Grant, [CodeChallenge(required=True), _OpenID(self)])
        self._server.register_token_generator("default", self._token)

    def signed(self, claims: dict[str, Any]) -> str:
        return str(jwt.encode({"alg": "RS256", "kid": "k1"}, claims, self.key))

    def claims(self, user: str) -> dict[str, Any]:
        now = int(time.time())
        whole = {"iss": self.url, "aud": self.client.client_id, "sub": user, "iat": now, "exp": now + 300}
        return whole | {"groups": self.groups.get(user)}

    def _token(self, scope: str | None = None, **_: Any) -> dict[str, Any]:
        return {"token_type": "Bearer", "access_token": secrets.token_urlsafe(), "expires_in": 300, "scope": scope}

    async def discovery(self, _: web.Request) -> web.Response:
        ends = {"authorization_endpoint": "/authorize", "token_endpoint": "/token", "jwks_uri": "/keys"}
        return web.json_response({"issuer": self.url} | {name: self.url + path for name, path in ends.items()})

    async def keys(self, _: web.Request) -> web.Response:
        return web.json_response({"keys": [self.key.as_dict(private=False) | {"kid": "k1", "use": "sig"}]})

    async def page(self, request: web.Request) -> web.Response:
        """A sign-in page without a password; whoever is named comes in."""
        asked = _Request(request, dict(request.query))
        try:
            self._server.get_consent_grant(asked, end_user=None)
        except OAuth2Error as error:
            return web.Response(status=400, text=str(error))
        fields = "".join(
            f'<input type="hidden" name="{html.escape(n)}" value="{html.escape(v)}">' for n, v in request.query.items()
        )
        form = f'<form method="post" action="/authorize">{fields}<input name="user" value="ann"><button>Go on</button></form>'
        return web.Response(text=f"<!doctype html><title>Provider</title>{form}", content_type="text/html")

    async def decide(self, request: web.Request) -> web.Response:
        given = {name: str(value) for name, value in (await request.post()).items()}
        user = given.pop("user", "")
        asked = _Request(request, given)
        grant = self._server.get_consent_grant(asked, end_user=user)
        status, _, headers = self._server.create_authorization_response(asked, grant_user=user, grant=grant)
        return web.Response(status=status, headers=headers)

    async def token(self, request: web.Request) -> web.Response:
        given = {name: str(value) for name, value in (await request.post()).items()}
        self.asked.append(given)
        if self.status:
            return web.Response(status=self.status, text="<html>no</html>", content_type="text/html")
        status, body, _ = self._server.create_token_response(_Request(request, given))
        return web.json_response(body, status=status)


@asynccontextmanager
async def identity_provider() -> AsyncIterator[IdentityProvider]:
    provider = IdentityProvider()
    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", provider.discovery)
    app.router.add_get("/keys", provider.keys)
    app.router.add_get("/authorize", provider.page)
    app.router.add_post("/authorize", provider.decide)
    app.router.add_post("/token", provider.token)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    provider.url = f"http://localhost:{runner.addresses[0][1]}"  # another site than 127.0.0.1, to a browser
    try:
        yield provider
    finally:
        await runner.cleanup()
