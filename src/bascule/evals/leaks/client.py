"""One person's requests, and everything of the reply as bytes."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Any, Final

import aiohttp
import msgspec

from bascule.core.errors import UpstreamUnavailable
from bascule.evals.leaks.probes import Probe

TIMEOUT_S: Final = 120.0


class Reply(msgspec.Struct, frozen=True):
    """`seen`: status, headers and body in one, as somebody on the line would see them."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def seen(self) -> bytes:
        return repr((self.status, self.headers)).encode() + b"\n" + self.body

    def json(self) -> Any:
        """None for what is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Client:
    """Speaks HTTP to the server under audit. Leave it with `async with`."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Client:
        self._http = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
            connector=aiohttp.TCPConnector(limit=32, keepalive_timeout=1.0),  # sooner than a server closes
            auto_decompress=True,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.close()

    async def read(self, probe: Probe, key: str) -> Reply:
        """As `send`, tried again once: a connection may be closed in the moment it is used again."""
        try:
            return await self.send(probe.method, probe.path, key, probe.body)
        except UpstreamUnavailable:
            return await self.send(probe.method, probe.path, key, probe.body)

    async def send(self, method: str, path: str, key: str, body: Any = None) -> Reply:
        """Raises UpstreamUnavailable when no whole answer comes."""
        assert self._http is not None
        headers = {"authorization": f"Bearer {key}"} if key else {}
        try:
            async with self._http.request(method, self.url + path, json=body, headers=headers) as reply:
                return Reply(reply.status, {k.lower(): v for k, v in reply.headers.items()}, await reply.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UpstreamUnavailable(f"The server at {self.url} did not answer: {type(error).__name__}.") from None
