"""Documents that say nearly the same, by their signatures: see `rag.signature` for how those are made."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from bascule.core.principals import Principal

BANDS: Final = 12  # documents that resemble each other by .8 share one in 99 of 100 cases
IN_BAND: Final = 5
VALUES: Final = BANDS * IN_BAND
LEAST_RESEMBLANCE: Final = 0.8


def bands(signature: bytes) -> list[int]:
    """Numbers of which documents that are alike share at least one; none for an empty signature."""
    size = 4 * IN_BAND
    parts = [signature[at : at + size] for at in range(0, len(signature), size)]
    digests = (hashlib.blake2b(bytes([n]) + part, digest_size=8).digest() for n, part in enumerate(parts))
    return [int.from_bytes(digest, "big", signed=True) for digest in digests]


def alike(one: bytes, other: bytes) -> bool:
    if not one or len(one) != len(other):
        return False
    form = f"<{len(one) // 4}I"
    same = sum(a == b for a, b in zip(struct.unpack(form, one), struct.unpack(form, other), strict=True))
    return bool(same >= LEAST_RESEMBLANCE * (len(one) // 4))


class Alikes(Protocol):
    async def alikes(self, principal: Principal, document_ids: Sequence[str]) -> Mapping[str, list[str]]:
        """Of each of these documents, others that say nearly the same; of both only what the principal may read."""
        ...
