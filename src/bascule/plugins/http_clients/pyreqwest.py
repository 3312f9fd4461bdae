"""The upstream HTTP client on pyreqwest (Rust's reqwest): the least CPU, for who installs the package `pyreqwest`.

Not the default: as of 0.15 a request that is cancelled before its headers arrive goes on until its time limit, so a caller who
leaves does not abort the upstream call (docs/decisions/upstream-client.md).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from bascule.core.errors import ConfigError, UpstreamError, UpstreamInvalid, UpstreamTimeout, UpstreamUnavailable

try:
    from pyreqwest.client import Client, ClientBuilder
    from pyreqwest.exceptions import PyreqwestError, RequestTimeoutError
except ImportError:
    raise ConfigError(
        'gateway.http_client is "pyreqwest", but that package is not installed. Run: pip install pyreqwest'
    ) from None


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    pool_size: int = Field(256, gt=0, description="Most connections open to one upstream host.")


def _translate(error: PyreqwestError) -> UpstreamError:
    if isinstance(error, RequestTimeoutError):
        return UpstreamTimeout("The model's provider did not answer in time.")
    return UpstreamUnavailable("The connection to the model's provider failed.")


class PyreqwestReply:
    __slots__ = ("_closed", "_request", "_response", "headers", "status")

    def __init__(self, request: Any, response: Any) -> None:
        self._request = request
        self._response = response
        self._closed = False
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self, limit_bytes: int) -> bytes:
        try:
            reader = self._response.body_reader
            first = await reader.read_chunk()
            if first is None:
                return b""
            parts, size = [first.to_bytes()], len(first)
            while (piece := await reader.read_chunk()) is not None:
                parts.append(piece.to_bytes())
                size += len(piece)
                if size > limit_bytes:
                    raise UpstreamInvalid(f"The model's provider answered with more than {limit_bytes} bytes.")
        except PyreqwestError as error:
            raise _translate(error) from None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        reader = self._response.body_reader
        try:
            while (piece := await reader.read_chunk()) is not None:
                yield piece.to_bytes()
        except PyreqwestError as error:
            raise _translate(error) from None

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            await self._request.__aexit__(None, None, None)


class PyreqwestClient:
    def __init__(self, client: Client) -> None:
        self._client = client

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> PyreqwestReply:
        request = (
            self._client.post(url)
            .headers(headers)
            .body_bytes(body)
            .timeout(timedelta(seconds=max(timeout_s, 0.001)))
            # A buffer would hold the first tokens of a stream back until it is full.
            .streamed_read_buffer_limit(0)
            .build_streamed()
        )
        try:
            return PyreqwestReply(request, await request.__aenter__())
        except PyreqwestError as error:
            raise _translate(error) from None


@asynccontextmanager
async def connect(settings: Settings) -> AsyncGenerator[PyreqwestClient]:
    builder = (
        ClientBuilder()
        .no_proxy()
        .follow_redirects(False)
        .referer(False)
        .gzip(False)
        .brotli(False)
        .zstd(False)
        .deflate(False)
        .user_agent("bascule")
        .pool_max_idle_per_host(settings.pool_size)
    )
    async with builder.build() as client:
        yield PyreqwestClient(client)
