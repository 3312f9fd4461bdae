"""Who is signed in to the console: random ids, each standing for an API key, or for whom a provider said it is.

Kept where several servers share state (Valkey, or SQLite of one machine), so that a browser may come to any of them; otherwise in
this process. At rest is the hash of an id and the hash of a key, never either. What a provider said carries a mark made with the
client secret at that provider: whoever writes to the store signs nobody in.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from bascule.access.login import FLOW_S
from bascule.core.principals import Principal

COOKIE: Final = "bascule_session"
FLOW_COOKIE: Final = "bascule_sign_in"
PREFIX: Final = "__Host-"  # browsers take such a cookie from this very host alone, by https
LIFETIME_S: Final = 12 * 3600.0
IDLE_S: Final = 2 * 3600.0
_NOTED_S: Final = 60.0  # a use is written down no more often
_MOST: Final = 1_000
_LONGEST_ID: Final = 100


class Keeper(Protocol):
    """The part of a state store that sessions need."""

    async def get(self, key: str) -> bytes | None: ...

    async def put(self, key: str, value: bytes, ttl_s: float) -> None: ...

    async def delete(self, key: str) -> None: ...


class Session(msgspec.Struct, frozen=True):
    """`key_hash` is asked of the authenticator on every request: a revoked key ends its sessions at once. With a `principal`, a
    provider said who it is. `csrf` is in the session's own pages, and in every change that comes from them."""

    key_hash: bytes
    principal: Principal | None
    csrf: str


class _Kept(msgspec.Struct, array_like=True):
    key_hash: bytes
    principal: Principal | None
    ends_at_s: float
    used_at_s: float
    mark: bytes


class Sessions:
    """`clock` is UTC: servers share what it says. `secret` marks what a provider said: only servers with the same one take it."""

    def __init__(self, keeper: Keeper, secret: bytes = b"", clock: Callable[[], float] = time.time) -> None:
        self._keeper = keeper
        self._secret = secret or secrets.token_bytes(32)
        self._clock = clock

    async def begin(
        self, key_hash: bytes = b"", *, principal: Principal | None = None, lasts_s: float = LIFETIME_S
    ) -> str:
        """A new id of 256 random bits, for the cookie. Raises StorageError."""
        now, session_id = self._clock(), secrets.token_urlsafe(32)
        kept = _Kept(key_hash, principal, now + min(lasts_s, LIFETIME_S), now, b"")
        kept.mark = self._marked(session_id, kept)
        await self._keep(session_id, kept)
        return session_id

    async def find(self, session_id: str) -> Session | None:
        """None when it is unknown, idle for too long or over. Raises StorageError."""
        if len(session_id) > _LONGEST_ID:
            return None
        raw, now = await self._keeper.get(_place(session_id)), self._clock()
        if raw is None:
            return None
        kept = msgspec.msgpack.decode(raw, type=_Kept)
        if kept.principal is not None and not hmac.compare_digest(kept.mark, self._marked(session_id, kept)):
            return None
        if now > kept.ends_at_s or now - kept.used_at_s > IDLE_S:
            await self.end(session_id)
            return None
        if now - kept.used_at_s > _NOTED_S:
            kept.used_at_s = now
            await self._keep(session_id, kept)
        return Session(kept.key_hash, kept.principal, _digest("csrf", session_id))

    async def end(self, session_id: str) -> None:
        """Raises StorageError."""
        await self._keeper.delete(_place(session_id))

    async def _keep(self, session_id: str, kept: _Kept) -> None:
        lasts_s = min(IDLE_S, kept.ends_at_s - self._clock())
        await self._keeper.put(_place(session_id), msgspec.msgpack.encode(kept), max(lasts_s, 1.0))

    def _marked(self, session_id: str, kept: _Kept) -> bytes:
        said = msgspec.json.encode((session_id, kept.principal, kept.ends_at_s), order="deterministic")
        return hmac.new(self._secret, said, hashlib.sha256).digest()


class Here:
    """Sessions of this process alone; a restart signs everybody out. The times are the sessions' own."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, bytes] = OrderedDict()

    async def get(self, key: str) -> bytes | None:
        return self._held.get(key)

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        self._held[key] = value
        while len(self._held) > _MOST:
            self._held.popitem(last=False)

    async def delete(self, key: str) -> None:
        self._held.pop(key, None)


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


def _place(session_id: str) -> str:
    return "console-session:" + _digest("place", session_id)


def _digest(what: str, session_id: str) -> str:
    return hashlib.sha256(f"{what}:{session_id}".encode("utf-8", "replace")).hexdigest()
