"""Who is signed in to the console: random ids in memory, each standing for an API key, or for whom a provider said it is."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

import msgspec

from bascule.access.login import FLOW_S
from bascule.core.principals import Principal

COOKIE: Final = "bascule_session"
FLOW_COOKIE: Final = "bascule_sign_in"
PREFIX: Final = "__Host-"  # browsers take such a cookie from this very host alone, by https
LIFETIME_S: Final = 12 * 3600.0
IDLE_S: Final = 2 * 3600.0
_MOST: Final = 1_000


class Session(msgspec.Struct):
    """`authorization` goes to the authenticator on every request: a revoked key ends its sessions at once. With a `principal`, a
    provider said who it is. `csrf` is in the session's own pages, and in every change that comes from them."""

    authorization: str
    principal: Principal | None
    csrf: str
    ends_s: float
    used_s: float


class Sessions:
    """The ids themselves are not kept, only their hashes; a restart signs everybody out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: OrderedDict[bytes, Session] = OrderedDict()

    def begin(self, authorization: str = "", *, principal: Principal | None = None, lasts_s: float = LIFETIME_S) -> str:
        """A new id of 256 random bits, for the cookie."""
        now = self._clock()
        session_id = secrets.token_urlsafe(32)
        self._open[_digest(session_id)] = Session(
            authorization, principal, secrets.token_urlsafe(32), now + min(lasts_s, LIFETIME_S), now
        )
        while len(self._open) > _MOST:
            self._open.popitem(last=False)
        return session_id

    def find(self, session_id: str) -> Session | None:
        """None when it is unknown, idle for too long or over."""
        mark, now = _digest(session_id), self._clock()
        session = self._open.get(mark)
        if session is None:
            return None
        if now > session.ends_s or now - session.used_s > IDLE_S:
            del self._open[mark]
            return None
        session.used_s = now
        return session

    def end(self, session_id: str) -> None:
        self._open.pop(_digest(session_id), None)


class Attempts:
    """At most `limit` failed sign-ins from one address within `window_s` seconds."""

    def __init__(self, limit: int = 10, window_s: float = 300.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._window_s = window_s
        self._clock = clock
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """Seconds until this address may try again; 0 when it may now."""
        failed = self._failed.get(address)
        if failed is None:
            return 0.0
        now = self._clock()
        while failed and now - failed[0] > self._window_s:
            failed.popleft()
        return self._window_s - (now - failed[0]) if len(failed) >= self._limit else 0.0

    def failed(self, address: str) -> None:
        self._failed.setdefault(address, deque(maxlen=self._limit)).append(self._clock())
        self._failed.move_to_end(address)
        while len(self._failed) > _MOST:
            self._failed.popitem(last=False)


def cookie_values(header: str, name: str = COOKIE, only_secure: bool = False) -> list[str]:
    """What a Cookie header holds under the name: with its prefix first, and without it unless `only_secure`."""
    pairs = [part.strip().partition("=") for part in header.split(";")]
    names = [PREFIX + name] if only_secure else [PREFIX + name, name]
    return [value for wanted in names for found, _, value in pairs if found == wanted and value]


def set_cookie(session_id: str, *, secure: bool) -> bytes:
    """`secure` where the browser came by https; an empty id removes the cookie."""
    return _cookie(COOKIE, session_id, LIFETIME_S, "Strict", secure=secure)


def flow_cookie(sealed: str, *, secure: bool) -> bytes:
    """Lax: the browser comes back from another site."""
    return _cookie(FLOW_COOKIE, sealed, FLOW_S, "Lax", secure=secure)


def _cookie(name: str, value: str, lasts_s: float, same_site: str, *, secure: bool) -> bytes:
    age_s = int(lasts_s) if value else 0
    text = f"{name}={value}; Path=/; HttpOnly; SameSite={same_site}; Max-Age={age_s}"
    return (f"{PREFIX}{text}; Secure" if secure else text).encode()


def _digest(session_id: str) -> bytes:
    return hashlib.sha256(session_id.encode("utf-8", "replace")).digest()
