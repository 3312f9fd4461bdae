"""A service key that speaks for an end user: by a short-lived token signed with the key itself, never by a plain header.

A header that an application passes on from its own callers names nobody: only who holds the key can sign. The token is a JWT
(HS256) whose signing key is derived from the API key, which comes with the same request, so that nothing more is stored.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from bascule.core.errors import AuthenticationFailed, InvalidRequest, ScopeMissing
from bascule.core.principals import SCOPE_ACT_AS, SCOPE_ADMIN, SCOPE_AUDIT, SCOPE_SCIM, Principal
from bascule.core.rights import parse_mark

HEADER: Final = b"bascule-act-as"
AUDIENCE: Final = "bascule"
LONGEST_S: Final = 300.0
SKEW_S: Final = 30.0
_MAX_CHARS: Final = 4_096
_LABEL: Final = b"bascule act-as v1"
# What nobody does in another's name.
_NEVER: Final = frozenset({SCOPE_ACT_AS, SCOPE_ADMIN, SCOPE_AUDIT, SCOPE_SCIM})


def mint(key: str, subject: str, lasts_s: float = 120.0, now_s: float | None = None) -> str:
    """A token by which the holder of `key` speaks for `subject`. Raises InvalidRequest."""
    parse_mark(f"user:{subject}")
    if not 0 < lasts_s <= LONGEST_S:
        raise InvalidRequest(f"A token lasts at most {LONGEST_S:.0f} s.", param="lasts_s")
    issued = time.time() if now_s is None else now_s
    claims = {"sub": subject, "aud": AUDIENCE, "iat": int(issued), "exp": int(issued + lasts_s)}
    body = f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part(claims)}"
    return f"{body}.{_encode(_sign(key, body))}"


def speak_for(
    principal: Principal, key: str, token: str, groups_of: Callable[[str, str], frozenset[str] | None]
) -> Principal:
    """The end user as the service key may speak for them: with the key's scopes but the mighty ones, and the user's groups of
    the directory, which the key's own groups narrow where it has any: those left out shut the user out as ever. `groups_of` is
    None for a user that is switched off.

    Raises ScopeMissing for a key without `act_as`, AuthenticationFailed for anything wrong with the token.
    """
    if SCOPE_ACT_AS not in principal.scopes:
        raise ScopeMissing(f"This key lacks the scope {SCOPE_ACT_AS!r}.")
    subject = _subject(key, token)
    groups = groups_of(principal.tenant, subject)
    if groups is None:
        raise _refused()
    used = groups & principal.groups if principal.groups else groups
    return Principal(
        tenant=principal.tenant,
        subject=subject,
        groups=used,
        unused_groups=groups - used,
        scopes=principal.scopes - _NEVER,
        key_id=principal.key_id,
    )


def _subject(key: str, token: str) -> str:
    body, _, signature = token.rpartition(".")
    if len(token) > _MAX_CHARS or not hmac.compare_digest(_sign(key, body), _decode(signature)):
        raise _refused()
    head, _, payload = body.partition(".")
    header, claims = _object(head), _object(payload)
    if header.get("alg") != "HS256" or "crit" in header or claims.get("aud") != AUDIENCE:
        raise _refused()
    now, issued, ends = time.time(), claims.get("iat"), claims.get("exp")
    if not isinstance(issued, int) or not isinstance(ends, int) or isinstance(issued, bool) or isinstance(ends, bool):
        raise _refused()
    if not issued - SKEW_S <= now <= ends + SKEW_S or ends - issued > LONGEST_S:
        raise _refused()
    subject = claims.get("sub")
    if not isinstance(subject, str):
        raise _refused()
    try:
        parse_mark(f"user:{subject}")
    except InvalidRequest:
        raise _refused() from None
    return subject


def _sign(key: str, body: str) -> bytes:
    own = hmac.digest(key.encode("utf-8", "replace"), _LABEL, hashlib.sha256)
    return hmac.digest(own, body.encode("utf-8", "replace"), hashlib.sha256)


def _part(value: dict[str, Any]) -> str:
    return _encode(msgspec.json.encode(value))


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (ValueError, UnicodeError):
        return b""


def _object(part: str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(_decode(part))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _refused() from None
    if not isinstance(found, dict):
        raise _refused()
    return found


def _refused() -> AuthenticationFailed:
    return AuthenticationFailed("The token for an end user is not valid.")
