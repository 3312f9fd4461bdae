"""The fetcher's port: every URL that is not the operator's own upstream goes through it (law 9)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

import msgspec


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """The answer at the end of all redirects. Header names are lower-case. `body` is unpacked, and empty unless `status` is 200."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def media_type(self) -> str:
        """Without its parameters; "" when the server names none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class Fetcher(Protocol):
    @property
    def user_agent(self) -> str:
        """How it names itself to a site; its first word is what robots.txt knows it by."""
        ...

    async def fetch(
        self, url: str, *, limit_bytes: int, headers: Mapping[str, str] = {}, types: Collection[str] = ()
    ) -> Fetched:
        """GET. `headers` go to the URL's own origin alone, never on with a redirect to another. `types`: media types to accept,
        "text/*" for a family; none for all.

        Raises IngestError; its `reason` is one of "address_refused", "too_many_redirects", "too_large", "wrong_type",
        "too_slow", "unreachable", "invalid_answer"; `transient` when another try may go better.
        """
        ...
