"""Requests that come again byte by byte after they were answered from the cache: told by their bytes, answered in one step.

A request is known by a keyed hash of all its bytes, head and body, so that nothing in it needs to be read to know that it asks
for the same in the same way with the same key. Whose key that is, is asked anew each time, and so is everything that
`Gateway.answer` says can change. What is not answered here goes the way of every other request and is answered there, refusals
included: this can only ever save the way.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import msgspec

from bascule.core.ids import new_id
from bascule.gateway.again import Known
from bascule.gateway.cache import HIT_REASON
from bascule.server.credentials import authorization
from bascule.server.exchange import BASE_HEADERS, JSON, Exchange
from bascule.server.protocol import DATA

if TYPE_CHECKING:
    from bascule.bootstrap import App

MOST_KNOWN: Final = 4_096
_FORGET: Final = 512  # at once, the oldest first
# With one of these a request is more than what it asks for: it is read anew each time.
_MEANING: Final = frozenset(
    (
        b"transfer-encoding",
        b"connection",
        b"expect",
        b"upgrade",
        b"cache-control",
        b"traceparent",
        b"x-bascule-timeout-s",
        b"bascule-act-as",
    )
)

Headers = list[tuple[bytes, bytes]]


class _Entry(msgspec.Struct, frozen=True):
    path: str
    hashed_key: bytes
    known: Known


class Repeats:
    """Bounded. Neither a request's bytes nor an answer's are held here, only hashes: what is purged is nowhere."""

    __slots__ = ("_app", "_dated", "_dated_by", "_entries", "_observe", "_salt")

    def __init__(self, app: App, observe: Callable[[str, int, float], None]) -> None:
        self._app = app
        self._observe = observe
        self._salt = os.urandom(32)
        self._entries: dict[bytes, _Entry] = {}
        self._dated: bytes = b""
        self._dated_by: Headers | None = None

    def learn(self, exchange: Exchange, known: Known) -> None:
        """After a hit that was answered as every plain hit is. `known`: what the gateway learnt from it."""
        data: bytes | None = exchange.scope.get("state", {}).get(DATA)
        if data is None or not known.principal.key_id or not _is_whole(data, exchange):
            return  # a signed token is checked anew each time
        hashed_key = self._app.authenticator.hashed(authorization(exchange.headers))
        if self._app.authenticator.holder(hashed_key) is not known.principal:
            return
        if len(self._entries) >= MOST_KNOWN:
            for place in list(self._entries)[:_FORGET]:
                del self._entries[place]
        self._entries[self._place(data)] = _Entry(exchange.scope["path"], hashed_key, known)

    def answer(self, data: bytes, default_headers: Headers) -> bytes | None:
        """The whole reply to a request that is exactly `data`; None for one that must go the whole way."""
        began_s = time.perf_counter()
        place = self._place(data)
        entry = self._entries.get(place)
        if entry is None:
            return None
        known, call_id = entry.known, new_id()
        mine = self._app.authenticator.holder(entry.hashed_key) is known.principal
        found = self._app.gateway.answer(known, call_id) if mine else None
        if found is None:
            # Learnt anew by the call that now goes the whole way, if that is a hit.
            self._entries.pop(place)
            return None
        response, age_s = found
        if default_headers is not self._dated_by:
            self._dated = b"".join(b"%b: %b\r\n" % header for header in default_headers)
            self._dated_by = default_headers
        reply = _HEAD % (self._dated, call_id.encode(), len(response.body), age_s) + response.body
        self._observe(entry.path, 200, time.perf_counter() - began_s)
        return reply

    def _place(self, data: bytes) -> bytes:
        return blake2b(data, digest_size=32, key=self._salt).digest()


def _is_whole(data: bytes, exchange: Exchange) -> bool:
    """Whether `data` is this request, from its first byte to its last and nothing besides, and nothing in its head is more
    than its own path, key and labels."""
    length = exchange.headers.get(b"content-length", b"")
    head, _, body = data.partition(b"\r\n\r\n")
    return (
        length.isdigit()
        and int(length) == len(body)
        and head.count(b"\r\n") == len(exchange.scope["headers"])
        and exchange.scope["http_version"] == "1.1"
        and _MEANING.isdisjoint(exchange.headers)
    )


# As `Exchange.reply` and `call_headers` write it.
_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\n%%bcontent-type: %b\r\nx-request-id: %%b\r\n%bcontent-length: %%d\r\n"
    b"x-bascule-cache: HIT\r\nx-bascule-cache-reason: %b\r\nage: %%d\r\n\r\n"
) % (JSON, b"".join(b"%b: %b\r\n" % header for header in BASE_HEADERS), HIT_REASON.encode())
