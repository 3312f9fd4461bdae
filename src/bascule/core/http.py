"""The upstream HTTP client's port: one pooled client for every provider, chosen by measurement (docs/decisions)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Protocol


class HttpReply(Protocol):
    """A response whose headers have arrived. Header names are lower-case. Always `aclose()` it; doing so before the body is
    read aborts the exchange."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    async def read(self, limit_bytes: int) -> bytes:
        """The whole body. Raises UpstreamInvalid over `limit_bytes`, UpstreamUnavailable when it is cut short."""
        ...

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """Pieces as they arrive, not held back. Raises UpstreamUnavailable when cut."""
        ...

    async def aclose(self) -> None: ...


class HttpClient(Protocol):
    async def post(self, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> HttpReply:
        """Send and wait for the headers. `timeout_s` bounds the whole exchange, the reading of the body included.

        Never follows redirects, uses no proxy from the environment. Raises UpstreamTimeout or UpstreamUnavailable, here
        and while the body is read.
        """
        ...
