"""Signed tokens from the settings: the issuers, and how their keys are got."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from bascule.access.tokens import Issuer, TokenVerifier
from bascule.bootstrap.plugins import plugin
from bascule.core.errors import ConfigError, IngestError, StorageError
from bascule.settings import IssuerSettings

_LARGEST_BYTES = 512_000
_LONGEST_S = 5.0


def open_tokens(issuers: dict[str, IssuerSettings], inactive: Callable[[str, str], bool]) -> TokenVerifier | None:
    """None without issuers. Raises ConfigError naming the key under [tokens]."""
    if not issuers:
        return None
    if find_spec("joserfc") is None:
        raise ConfigError("[tokens] needs a library: pip install 'bascule[oidc]'")
    named = [given.issuer for given in issuers.values()]
    for name, given in issuers.items():
        if named.count(given.issuer) > 1:
            raise ConfigError(f"tokens.{name}.issuer: two tables name this issuer.")
        if bool(given.tenant_claim) != bool(given.tenants):
            raise ConfigError(f"tokens.{name}: tenant_claim and tenants go together.")
    found = [Issuer(name=name, **issuer_fields(given)) for name, given in issuers.items()]
    return TokenVerifier(found, getter(list(issuers.values())), inactive)


def issuer_fields(given: IssuerSettings) -> dict[str, Any]:
    return given.model_dump() | {"scopes": frozenset(given.scopes)}


def getter(issuers: list[IssuerSettings]) -> Callable[[str], Awaitable[bytes]]:
    """The operator wrote the issuers' URLs, so their hosts may be private ones; where those lead to is checked as ever."""
    urls = [urlsplit(url) for given in issuers for url in (given.issuer, given.jwks_url) if url]
    ports = {url.port or (443 if url.scheme == "https" else 80) for url in urls}
    module = plugin("fetchers", "guarded")
    hosts = tuple(sorted({url.hostname or "" for url in urls}))
    settings = module.Settings(allow=hosts, ports=tuple(sorted(ports | {80, 443})), timeout_s=_LONGEST_S)
    fetcher = module.GuardedFetcher(settings)

    async def get(url: str) -> bytes:
        try:
            answer = await fetcher.fetch(url, limit_bytes=_LARGEST_BYTES)
        except IngestError as error:
            raise StorageError(error.message) from None
        if answer.status != 200:
            raise StorageError(f"it answered with the status {answer.status}")
        return bytes(answer.body)

    return get
