"""Where the bytes of accepted documents wait and stay: durable before the catalogue acknowledges them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

UNREADABLE: Final = "The document's stored bytes cannot be read."


class Blobs(Protocol):
    async def put(self, data: bytes) -> str:
        """Store durably (fsync before return); a new opaque name each time, so that no two documents share bytes."""
        ...

    async def put_all(self, many: Sequence[bytes]) -> list[str]:
        """`put` for each, all of them or none."""
        ...

    async def get(self, name: str) -> bytes:
        """Raises StorageError when it is not there."""
        ...

    async def get_all(self, names: Sequence[str]) -> dict[str, bytes]:
        """By name; what cannot be read is left out."""
        ...

    async def delete(self, name: str) -> None:
        """Removing what is gone already is no error."""
        ...

    async def names(self) -> list[tuple[str, float]]:
        """Every stored name with its age in seconds: for sweeping orphans."""
        ...
