"""Identifiers. Everything has a UUIDv7, except a chunk, whose id is derived so that an edit keeps what did not change."""

from __future__ import annotations

import hashlib
import os
import time
import uuid


def new_id() -> str:
    """A UUIDv7 (RFC 9562, section 5.7) as 36 characters: time-ordered, 74 random bits."""
    millis = time.time_ns() // 1_000_000
    raw = bytearray(millis.to_bytes(6, "big") + os.urandom(10))
    raw[6] = (raw[6] & 0x0F) | 0x70
    raw[8] = (raw[8] & 0x3F) | 0x80
    return str(uuid.UUID(bytes=bytes(raw)))


def chunk_id(tenant: str, document_id: str, content_hash: str, occurrence: int) -> str:
    """32 hex characters derived from all four: never from content alone, which would unite the rights of two documents."""
    parts = "\x1f".join((tenant, document_id, content_hash, str(occurrence)))
    return hashlib.blake2b(parts.encode(), digest_size=16, person=b"bascule.chunk").hexdigest()


def content_hash(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()
