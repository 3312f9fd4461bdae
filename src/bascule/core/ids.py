"""Identifiers. Everything has a UUIDv7, except a chunk, whose id is derived so that an edit keeps what did not change."""

from __future__ import annotations

import hashlib
import os
import time
from typing import Final

_RANDOM_BYTES: Final = 1280
_random = b""


def _forget_random() -> None:
    """A forked child must not repeat its parent's ids."""
    global _random
    _random = b""


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_random)


def new_id() -> str:
    """A UUIDv7 (RFC 9562, section 5.7) as 36 characters: time-ordered, 74 random bits."""
    global _random
    if len(_random) < 10:
        _random = os.urandom(_RANDOM_BYTES)  # one system call serves many ids
    drawn = int.from_bytes(_random[:10], "big")
    _random = _random[10:]
    when = "%012x" % (time.time_ns() // 1_000_000)
    tail = "%016x" % (0x8000_0000_0000_0000 | (drawn & 0x3FFF_FFFF_FFFF_FFFF))
    return f"{when[:8]}-{when[8:]}-7{drawn >> 68:03x}-{tail[:4]}-{tail[4:]}"


def chunk_id(tenant: str, document_id: str, content_hash: str, occurrence: int) -> str:
    """32 hex characters derived from all four: never from content alone, which would unite the rights of two documents."""
    parts = "\x1f".join((tenant, document_id, content_hash, str(occurrence)))
    return hashlib.blake2b(parts.encode(), digest_size=16, person=b"bascule.chunk").hexdigest()


def generation_id(name: str, generation: int) -> str:
    """A chunk's or a collection's id as the index knows it in one generation of vectors; the first one's is the plain id."""
    return f"{name}.{generation}" if generation else name


def chunk_of(point_id: str) -> str:
    """The chunk that a point of the index stands for."""
    return point_id.partition(".")[0]


def content_hash(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()
