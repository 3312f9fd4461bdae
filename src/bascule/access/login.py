"""Signing in by an identity provider: the authorisation code flow with PKCE (RFC 7636), state and nonce (OpenID Connect Core).

What a flow needs until it comes back is in a cookie of the browser that began it, sealed by a key of this process: a stranger can
neither fill a table of ours nor finish, in somebody else's browser, what they began in their own.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from bascule.access.tokens import ASK_AGAIN_S, Get, Issuer, TokenVerifier
from bascule.core.errors import AuthenticationFailed, BasculeError, StorageError
from bascule.core.principals import Principal
from bascule.core.secret import Secret

log = logging.getLogger(__name__)

FLOW_S: Final = 600.0  # to type a password and a second factor in
ENDPOINTS_LAST_S: Final = 3_600.0
_MOST_CHARS: Final = 4_096
_USED: Final = 10_000
_TOLD: Final = "Signing in did not work. Try again."

Post = Callable[[str, Mapping[str, str], bytes], Awaitable[bytes]]  # raises BasculeError


class LoginRules(msgspec.Struct, frozen=True, kw_only=True):
    """`issuer.audience` is the client id: an id token is for whom it was asked by. `session_s`: how long what it says counts."""

    issuer: Issuer
    client_id: str
    client_secret: Secret | None
    redirect_uri: str
    asks: str
    session_s: float


class Begun(msgspec.Struct, frozen=True):
    """Where the browser goes, and what it keeps meanwhile."""

    url: str
    cookie: str


class SignedIn(msgspec.Struct, frozen=True):
    principal: Principal
    lasts_s: float


class NotBegun(AuthenticationFailed):
    """This browser began no such sign-in, or it is over."""


class _Flow(msgspec.Struct, frozen=True):
    state: str
    nonce: str
    verifier: str
    ends_at_s: float


class _Endpoints(msgspec.Struct, frozen=True):
    authorization: str
    token: str


class Login:
    def __init__(
        self,
        rules: LoginRules,
        verifier: TokenVerifier,
        get: Get,
        post: Post,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._rules = rules
        self._verifier = verifier
        self._get = get
        self._post = post
        self._clock = clock
        self._key = _flow_key(rules)
        self._used: OrderedDict[str, None] = OrderedDict()
        self._endpoints: _Endpoints | None = None
        self._asked_at_s: float | None = None
        self._known_at_s = 0.0

    async def begin(self) -> Begun:
        """Raises StorageError when the provider does not say where to go."""
        there = await self._where()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        flow = _Flow(state, nonce, verifier, self._clock() + FLOW_S)
        asked = {
            "response_type": "code",
            "client_id": self._rules.client_id,
            "redirect_uri": self._rules.redirect_uri,
            "scope": self._rules.asks,
            "state": flow.state,
            "nonce": flow.nonce,
            "code_challenge": _challenge(flow.verifier),
            "code_challenge_method": "S256",
        }
        joint = "&" if "?" in there.authorization else "?"
        return Begun(there.authorization + joint + urlencode(asked), self._sealed(flow))

    async def finish(self, given: Mapping[str, str], cookie: str) -> SignedIn:
        """`given`: the parameters the provider sent the browser back with.

        Raises AuthenticationFailed, the same for whatever is wrong (the log says what); StorageError when the provider does
        not answer.
        """
        flow = self._opened(cookie)
        if flow is None or not hmac.compare_digest(given.get("state", "").encode(), flow.state.encode()):
            raise NotBegun(_TOLD)
        if flow.state in self._used:
            raise NotBegun(_TOLD)
        self._use(flow)
        code = given.get("code", "")
        if given.get("error") or not 0 < len(code) <= _MOST_CHARS:
            raise _refused("the provider sent no code")
        if given.get("iss", self._rules.issuer.issuer) != self._rules.issuer.issuer:
            raise _refused("another provider answered")
        token = await self._exchanged(code, flow)
        try:
            principal, claims = await self._verifier.verified(token)
        except AuthenticationFailed:
            raise _refused("the id token is not valid, or its user is switched off") from None
        self._check(claims, flow)
        return SignedIn(principal, self._rules.session_s)

    def _check(self, claims: Mapping[str, Any], flow: _Flow) -> None:
        nonce = claims.get("nonce")
        if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), flow.nonce.encode()):
            raise _refused("the id token is of another sign-in")
        several = isinstance(claims.get("aud"), list) and len(claims["aud"]) > 1
        if claims.get("azp", None if several else self._rules.client_id) != self._rules.client_id:
            raise _refused("the id token was asked for by another client")

    async def _exchanged(self, code: str, flow: _Flow) -> str:
        """The id token for the code. PKCE binds the code to this flow: one of another sign-in is refused by the provider."""
        rules = self._rules
        asked = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": rules.redirect_uri,
            "code_verifier": flow.verifier,
        }
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        if rules.client_secret is None:
            asked["client_id"] = rules.client_id
        else:
            headers["authorization"] = _basic(rules.client_id, rules.client_secret)
        where = await self._where()
        try:
            body = await self._post(where.token, headers, urlencode(asked).encode())
        except AuthenticationFailed as error:
            raise _refused(f"the provider refused the code: {error.message}") from None
        token = _object(body).get("id_token")
        if not isinstance(token, str):
            raise _refused("the provider refused the code")
        return token

    async def _where(self) -> _Endpoints:
        now = self._clock()
        known = self._endpoints if now - self._known_at_s < ENDPOINTS_LAST_S else None
        if known is not None:
            return known
        if self._asked_at_s is None or now - self._asked_at_s >= ASK_AGAIN_S:
            self._asked_at_s = now
            try:
                self._endpoints = await self._discovered()
                self._known_at_s = now
            except BasculeError as error:
                log.warning("sign-in: the provider's addresses could not be read: %s", error.message)
        if self._endpoints is None:
            raise StorageError("The identity provider does not answer at the moment.")
        return self._endpoints

    async def _discovered(self) -> _Endpoints:
        issuer = self._rules.issuer.issuer
        about = _object(await self._get(issuer.rstrip("/") + "/.well-known/openid-configuration"))
        found = [about.get("authorization_endpoint"), about.get("token_endpoint")]
        wanted = ("https://",) if issuer.startswith("https://") else ("https://", "http://")
        if about.get("issuer") != issuer or not all(isinstance(url, str) and url.startswith(wanted) for url in found):
            raise StorageError("its discovery document names another issuer, or no addresses to sign in at")
        return _Endpoints(str(found[0]), str(found[1]))

    def _use(self, flow: _Flow) -> None:
        self._used[flow.state] = None
        while len(self._used) > _USED:
            self._used.popitem(last=False)

    def _sealed(self, flow: _Flow) -> str:
        body = base64.urlsafe_b64encode(msgspec.json.encode(flow)).rstrip(b"=")
        return f"{body.decode()}.{self._mark(body)}"

    def _opened(self, cookie: str) -> _Flow | None:
        body, _, mark = cookie.partition(".")
        if len(cookie) > _MOST_CHARS or not hmac.compare_digest(mark.encode(), self._mark(body.encode()).encode()):
            return None
        flow = msgspec.json.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)), type=_Flow)
        return flow if flow.ends_at_s > self._clock() else None

    def _mark(self, body: bytes) -> str:
        return hmac.new(self._key, body, hashlib.sha256).hexdigest()


def _flow_key(rules: LoginRules) -> bytes:
    """Of every server with this client secret: a browser may come back to another one than it left. That each of them takes a
    state once, and not all together, gains nobody anything: the provider takes a code once, and from this browser's flow alone."""
    if rules.client_secret is None:
        return secrets.token_bytes(32)
    return hashlib.sha256(b"sign-in flows:" + rules.client_secret.encode()).digest()


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _basic(client_id: str, client_secret: str) -> Secret:
    """RFC 6749, 2.3.1: each part is form-encoded first."""
    pair = f"{quote(client_id, safe='')}:{quote(client_secret, safe='')}"
    return Secret("Basic " + base64.b64encode(pair.encode()).decode())


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise StorageError("The identity provider's answer cannot be read.")
    return found


def _refused(reason: str) -> AuthenticationFailed:
    log.warning("sign-in refused: %s", reason)
    return AuthenticationFailed(_TOLD)
