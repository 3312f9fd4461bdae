"""Signed tokens of an identity provider: from a JWT to a Principal, by keys the provider publishes and nothing the token says.

The operator names the issuers. A token chooses one of them by its `iss`, and one of that issuer's published keys by its `kid`;
the algorithm must be one the operator pinned and one that key is for. Everything else in its header is refused or unread.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final

import msgspec

from bascule.core.errors import AuthenticationFailed, BasculeError, InvalidRequest, StorageError
from bascule.core.principals import Principal
from bascule.core.rights import parse_mark

log = logging.getLogger(__name__)

MAX_CHARS: Final = 16_384
MAX_GROUPS: Final = 1_000
KEYS_LAST_S: Final = 3_600.0  # then they are read again before the next token
KEYS_OUTLIVE_S: Final = 86_400.0  # what was read serves on so long while the provider does not answer
ASK_AGAIN_S: Final = 30.0  # an unknown kid makes us ask the provider, but no more often
_KTY: Final = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_CURVES: Final = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "Ed25519": "Ed25519"}

Get = Callable[[str], Awaitable[bytes]]  # raises BasculeError


class Issuer(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator says of one identity provider."""

    name: str
    issuer: str
    audience: str
    jwks_url: str = ""  # "": from the issuer's discovery document
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    tenant: str = "default"
    tenant_claim: str = ""
    tenants: Mapping[str, str] = {}
    subject_claim: str = "sub"
    groups_claim: str = "groups"
    roles_claim: str = ""
    scopes: frozenset[str] = frozenset()
    scope_claim: str = ""
    skew_s: float = 30.0
    longest_s: float = 86_400.0


class PublishedKeys:
    """The keys of one issuer, read when they are wanted, kept, and read again for a kid that is not among them."""

    def __init__(self, issuer: Issuer, get: Get, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer
        self._get = get
        self._clock = clock
        self._keys: list[dict[str, Any]] = []
        self._read_at_s: float | None = None
        self._asked_at_s: float | None = None
        self._reading = asyncio.Lock()

    async def find(self, kid: str, algorithm: str) -> dict[str, Any] | None:
        """Raises StorageError while no keys could ever be read, or not for long."""
        async with self._reading:
            if self._age_s() > KEYS_LAST_S or _among(self._keys, kid, algorithm) is None:
                await self._read_again()
            if self._age_s() > KEYS_OUTLIVE_S:
                raise StorageError("The identity provider's keys cannot be read at the moment.")
        return _among(self._keys, kid, algorithm)

    def _age_s(self) -> float:
        return float("inf") if self._read_at_s is None else self._clock() - self._read_at_s

    async def _read_again(self) -> None:
        now = self._clock()
        if self._asked_at_s is not None and now - self._asked_at_s < ASK_AGAIN_S:
            return
        self._asked_at_s = now
        try:
            self._keys = await self._published()
            self._read_at_s = now
        except BasculeError as error:
            log.warning("issuer %s: its keys could not be read: %s", self._issuer.name, error.message)

    async def _published(self) -> list[dict[str, Any]]:
        url: Any = self._issuer.jwks_url
        if not url:
            about = _json(await self._get(self._issuer.issuer.rstrip("/") + "/.well-known/openid-configuration"))
            url = about.get("jwks_uri")
            if about.get("issuer") != self._issuer.issuer or not isinstance(url, str):
                raise StorageError("its discovery document names another issuer or no keys")
        keys = _json(await self._get(url)).get("keys")
        if not isinstance(keys, list):
            raise StorageError("it publishes no list of keys")
        return [key for key in keys if isinstance(key, dict) and isinstance(key.get("kid"), str)]


class TokenVerifier:
    """`inactive`: whether the directory has switched a user off."""

    def __init__(
        self,
        issuers: Sequence[Issuer],
        get: Get,
        inactive: Callable[[str, str], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuers = {issuer.issuer: (issuer, PublishedKeys(issuer, get, clock)) for issuer in issuers}
        self._inactive = inactive

    async def principal(self, token: str) -> Principal:
        """Who the token speaks for. Its groups are those it says, until it expires.

        Raises AuthenticationFailed, the same for whatever is wrong with it; StorageError without the issuer's keys.
        """
        return (await self.verified(token))[0]

    async def verified(self, token: str) -> tuple[Principal, Mapping[str, Any]]:
        """With the token's claims. Raises as `principal`."""
        header, claims = _parts(token)
        issuer, keys = self._issuers.get(_text(claims.get("iss")), (None, None))
        kid, algorithm = _text(header.get("kid")), _text(header.get("alg"))
        if issuer is None or keys is None or algorithm not in issuer.algorithms or not kid or "crit" in header:
            raise _refused()
        key = await keys.find(kid, algorithm)
        if key is None:
            raise _refused()
        _check_signature(token, key, algorithm)
        _check_claims(claims, issuer, time.time())
        found = _principal(claims, issuer)
        if self._inactive(found.tenant, found.subject):
            raise _refused()
        return found, claims


def looks_like_a_token(credential: str) -> bool:
    return credential.count(".") == 2 and credential.startswith("ey")


def _parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    pieces = token.split(".")
    if len(token) > MAX_CHARS or len(pieces) != 3 or not token.isascii():
        raise _refused()
    try:
        return _json(_decoded(pieces[0])), _json(_decoded(pieces[1]))
    except (StorageError, ValueError):
        raise _refused() from None


def _decoded(piece: str) -> bytes:
    return base64.b64decode(piece + "=" * (-len(piece) % 4), altchars=b"-_", validate=True)


def _json(data: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise StorageError("what it sent is not JSON") from None
    if not isinstance(found, dict):
        raise StorageError("what it sent is not an object")
    return found


def _among(keys: Collection[dict[str, Any]], kid: str, algorithm: str) -> dict[str, Any] | None:
    """The key must be of the algorithm's own kind, and for signatures."""
    for key in keys:
        fits = key["kid"] == kid and key.get("kty") == _KTY.get(algorithm[:2])
        curve = algorithm not in _CURVES or key.get("crv") == _CURVES[algorithm]
        if fits and curve and key.get("use", "sig") == "sig" and key.get("alg", algorithm) == algorithm:
            return key
    return None


def _check_signature(token: str, key: dict[str, Any], algorithm: str) -> None:
    from joserfc import jws
    from joserfc.errors import JoseError
    from joserfc.jwk import import_key

    public = {name: value for name, value in key.items() if name in ("kty", "n", "e", "crv", "x", "y")}
    try:
        jws.deserialize_compact(token, import_key(public), algorithms=[algorithm])
    except (JoseError, ValueError, TypeError, KeyError):
        raise _refused() from None


def _check_claims(claims: Mapping[str, Any], issuer: Issuer, now_s: float) -> None:
    audience = claims.get("aud")
    if issuer.audience not in (audience if isinstance(audience, list) else [audience]):
        raise _refused()
    ends, issued, begins = (_instant(claims.get(name)) for name in ("exp", "iat", "nbf"))
    if ends is None or ends + issuer.skew_s <= now_s or ends - now_s > issuer.longest_s + issuer.skew_s:
        raise _refused()
    if any(instant is not None and instant - issuer.skew_s > now_s for instant in (issued, begins)):
        raise _refused()


def _instant(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
        raise _refused()
    return float(value)


def _principal(claims: Mapping[str, Any], issuer: Issuer) -> Principal:
    if _left_out(claims, issuer):
        raise _refused()
    scopes = issuer.scopes
    if issuer.scope_claim:
        scopes &= _names(claims.get(issuer.scope_claim))
    return Principal(
        tenant=_tenant(claims, issuer),
        subject=next(iter(_marks("user", frozenset({_text(claims.get(issuer.subject_claim))})))),
        groups=_marks("group", _names(claims.get(issuer.groups_claim))) if issuer.groups_claim else frozenset(),
        roles=_marks("role", _names(claims.get(issuer.roles_claim))) if issuer.roles_claim else frozenset(),
        scopes=scopes,
    )


def _left_out(claims: Mapping[str, Any], issuer: Issuer) -> bool:
    """Entra ID leaves the groups of a user with many of them out and says where to ask: as if there were none, a deny on one
    would not hold."""
    elsewhere = claims.get("_claim_names")
    named = elsewhere if isinstance(elsewhere, dict) else {}
    wanted = {name for name in (issuer.groups_claim, issuer.roles_claim) if name}
    return bool(wanted & set(named)) or (bool(issuer.groups_claim) and claims.get("hasgroups") in (True, "true"))


def _tenant(claims: Mapping[str, Any], issuer: Issuer) -> str:
    if not issuer.tenant_claim:
        return issuer.tenant
    tenant = issuer.tenants.get(_text(claims.get(issuer.tenant_claim)))
    if tenant is None:
        raise _refused()
    return tenant


def _names(value: object) -> frozenset[str]:
    """A list of texts, or one text with blanks between, as `scope` is written."""
    found = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
    if len(found) > MAX_GROUPS or not all(isinstance(name, str) for name in found):
        raise _refused()
    return frozenset(found)


def _marks(kind: str, names: frozenset[str]) -> frozenset[str]:
    """A name that cannot be in a right refuses the token: left out, a deny on it would not hold."""
    try:
        for name in names:
            parse_mark(f"{kind}:{name}")
    except InvalidRequest:
        raise _refused() from None
    return names


def _text(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= 1_000 else ""


def _refused() -> AuthenticationFailed:
    return AuthenticationFailed("This token is not valid.")
