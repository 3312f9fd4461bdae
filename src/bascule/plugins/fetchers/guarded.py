"""The fetcher: resolves a name once, checks every address it has, connects to a checked address itself, and does all of it anew
for every redirect. It knows no proxy, no cookies and no way around: whoever wants a private address asks the operator to list it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from bascule.core.addresses import AddressRules
from bascule.core.errors import IngestError
from bascule.core.fetching import Fetched
from bascule.core.resources import Resources
from bascule.core.urls import WebUrl, join_url
from bascule.plugins.fetchers._exchange import Dial, Exchange, Streams, dial, invalid, request_head, unreachable

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_CLOSE_S: Final = 2.0

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    allow: tuple[str, ...] = Field(
        (),
        description="What may be fetched from though it is not public: NAME, *.NAME, an address or a network, each with or "
        "without :PORT.",
    )
    ports: tuple[int, ...] = Field((80, 443), description="Ports that may be fetched from.")
    timeout_s: float = Field(30.0, gt=0, description="For one URL to its last byte, redirects included.")
    max_redirects: int = Field(5, ge=0, le=20, description="Redirects followed, each checked as the first URL was.")
    user_agent: str = Field(
        "bascule", pattern=r"^[\x21-\x7e][\x20-\x7e]*$", description="How fetches name themselves to a site."
    )


async def resolve(host: str, port: int) -> Sequence[str]:
    """Every address of a name, in the order in which the system would try them."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class GuardedFetcher:
    """`resolve` and `dial` are the only ways out to the network."""

    def __init__(self, settings: Settings, *, resolve: Resolve = resolve, dial: Dial = dial) -> None:
        self._settings = settings
        self._rules = AddressRules(settings.allow, settings.ports)
        self._resolve = resolve
        self._dial = dial
        self._context: ssl.SSLContext | None = None

    @property
    def user_agent(self) -> str:
        return self._settings.user_agent

    async def fetch(
        self, url: str, *, limit_bytes: int, headers: Mapping[str, str] = {}, types: Collection[str] = ()
    ) -> Fetched:
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                return await self._follow(url, limit_bytes, headers, types)
        except TimeoutError:
            raise IngestError(
                f"The site did not answer within {self._settings.timeout_s:g} s.", reason="too_slow", transient=True
            ) from None

    async def _follow(self, url: str, limit_bytes: int, headers: Mapping[str, str], types: Collection[str]) -> Fetched:
        at = self._rules.check_url(url)
        first = at.origin
        for _ in range(self._settings.max_redirects + 1):
            own = headers if at.origin == first else {}
            answer = await self._get(at, limit_bytes, own, types)
            if answer.status not in _REDIRECTS or not answer.headers.get("location"):
                return answer
            at = self._rules.check_url(join_url(at, answer.headers["location"].strip(" \t")))
        raise IngestError(
            f"The site redirects more than {self._settings.max_redirects} times.", reason="too_many_redirects"
        )

    async def _get(self, url: WebUrl, limit_bytes: int, headers: Mapping[str, str], types: Collection[str]) -> Fetched:
        reader, writer = await self._connect(url)
        try:
            writer.write(request_head(url, {"user-agent": self._settings.user_agent, "accept": "*/*"} | dict(headers)))
            exchange = Exchange(reader)
            await writer.drain()
            await exchange.read_head()
            answer = Fetched(url=str(url), status=exchange.status, headers=exchange.headers)
            if answer.status != 200:
                return answer
            _check_type(answer.media_type, types)
            body = await exchange.read_body(limit_bytes)
            return Fetched(url=answer.url, status=200, headers=answer.headers, body=body)
        except (OSError, asyncio.IncompleteReadError):
            raise unreachable() from None
        finally:
            await _close(writer)

    async def _connect(self, url: WebUrl) -> Streams:
        """To the first of the name's addresses that answers; not at all when any of them may not be reached."""
        addresses = [url.address] if url.address else await self._addresses(url)
        checked = [self._rules.check_address(url, address) for address in addresses]
        for address in checked:
            try:
                async with asyncio.timeout(self._settings.timeout_s / len(checked)):
                    return await self._dial(address, url.port, self._tls(url), url.host)
            except ssl.SSLCertVerificationError:
                raise invalid("its certificate is not valid for this name") from None
            except (OSError, TimeoutError):  # ssl.SSLError is an OSError
                continue
        raise unreachable()

    async def _addresses(self, url: WebUrl) -> Sequence[str]:
        try:
            found = await self._resolve(url.host, url.port)
        except (OSError, UnicodeError):
            found = ()
        if not found:
            raise IngestError("The site's name has no address.", reason="unreachable", transient=True)
        return found

    def _tls(self, url: WebUrl) -> ssl.SSLContext | None:
        if url.scheme != "https":
            return None
        if self._context is None:
            self._context = ssl.create_default_context()
            self._context.set_alpn_protocols(["http/1.1"])
        return self._context


def _check_type(media_type: str, types: Collection[str]) -> None:
    family = media_type.partition("/")[0] + "/*"
    if types and media_type not in types and family not in types:
        named = media_type if media_type.isprintable() and len(media_type) < 80 else "something else"
        raise IngestError(f"The page is {named or 'of no named type'}, which is not taken in.", reason="wrong_type")


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(_CLOSE_S):
            await writer.wait_closed()


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[GuardedFetcher]:
    yield GuardedFetcher(settings)
