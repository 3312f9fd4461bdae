"""The upstream HTTP client on aiohttp."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache

import aiohttp
from pydantic import BaseModel, ConfigDict, Field
from yarl import URL

from bascule.core.errors import BasculeError, UpstreamInvalid, UpstreamTimeout
from bascule.core.upstream import no_connection


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    pool_size: int = Field(256, gt=0, description="Most connections open to one upstream host.")


def _translate(error: BaseException) -> BasculeError:
    # Every timeout of aiohttp's is a TimeoutError; its other errors are ClientError or OSError.
    if isinstance(error, TimeoutError):
        return UpstreamTimeout("The model's provider did not answer in time.")
    return no_connection(error)


_FAULTS = (aiohttp.ClientError, OSError, asyncio.IncompleteReadError)


class AiohttpReply:
    __slots__ = ("_response", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self, limit_bytes: int) -> bytes:
        response = self._response
        try:
            length = response.content_length
            if length is not None and length <= limit_bytes and "content-encoding" not in response.headers:
                return await response.read()
            body = bytearray()
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > limit_bytes:
                    raise UpstreamInvalid(f"The model's provider answered with more than {limit_bytes} bytes.")
            return bytes(body)
        except _FAULTS as error:
            raise _translate(error) from None

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            async for piece in self._response.content.iter_any():
                yield piece
        except _FAULTS as error:
            raise _translate(error) from None

    async def aclose(self) -> None:
        # Closes the connection unless the body was read to its end, when it went back to the pool by itself.
        self._response.close()


class AiohttpClient:
    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._url = lru_cache(maxsize=1024)(URL)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> AiohttpReply:
        try:
            response = await self._session.post(
                self._url(url),
                headers=headers,
                data=body,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=max(timeout_s, 0.001)),
            )
        except _FAULTS as error:
            raise _translate(error) from None
        return AiohttpReply(response)


@asynccontextmanager
async def connect(settings: Settings) -> AsyncGenerator[AiohttpClient]:
    connector = aiohttp.TCPConnector(limit=0, limit_per_host=settings.pool_size, ttl_dns_cache=60)
    session = aiohttp.ClientSession(
        connector=connector,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        # Nothing is asked to be compressed: unpacking costs more than the bytes it saves, and delays streams.
        skip_auto_headers=("Accept-Encoding", "User-Agent"),
        headers={"Accept-Encoding": "identity", "User-Agent": "bascule"},
    )
    async with session:
        yield AiohttpClient(session)
