"""Where the bytes of accepted documents wait and stay: durable before the catalogue acknowledges them."""

from __future__ import annotations

from typing import Protocol


class Blobs(Protocol):
    async def put(self, data: bytes) -> str:
        """Store durably (fsync before return); a new opaque name each time, so that no two documents share bytes."""
        ...

    async def get(self, name: str) -> bytes:
        """Raises StorageError when it is not there."""
        ...

    async def delete(self, name: str) -> None:
        """Removing what is gone already is no error."""
        ...

    async def names(self) -> list[tuple[str, float]]:
        """Every stored name with its age in seconds: for sweeping orphans."""
        ...
