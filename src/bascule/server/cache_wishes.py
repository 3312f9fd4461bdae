"""What a caller wishes of the cache and of the time a call takes. It can only narrow what the route allows."""

from __future__ import annotations

from bascule.core.calls import CacheDirectives
from bascule.core.errors import InvalidRequest
from bascule.server.exchange import Exchange


def cache_wishes(exchange: Exchange) -> CacheDirectives | None:
    """The request's `Cache-Control`; None when it wishes nothing."""
    header = exchange.headers.get(b"cache-control")
    return directives(header.decode("latin-1")) if header else None


def directives(text: str) -> CacheDirectives | None:
    """The request's `Cache-Control` (RFC 9111, section 5.2.1); what we do not know is ignored, as the standard says."""
    no_store = no_cache = only_if_cached = False
    max_age_s: float | None = None
    for part in text.lower().split(","):
        name, _, value = part.strip().partition("=")
        no_store = no_store or name == "no-store"
        no_cache = no_cache or name == "no-cache"
        only_if_cached = only_if_cached or name == "only-if-cached"
        if name == "max-age" and value.strip('"').isdigit():
            max_age_s = float(value.strip('"'))
    if not (no_store or no_cache or only_if_cached or max_age_s is not None):
        return None
    return CacheDirectives(no_store=no_store, no_cache=no_cache, max_age_s=max_age_s, only_if_cached=only_if_cached)


def wished_timeout_s(exchange: Exchange, longest_s: float) -> float:
    """The call's deadline: `longest_s`, or less where `x-bascule-timeout-s` asks for less. Raises InvalidRequest."""
    header = exchange.headers.get(b"x-bascule-timeout-s")
    if header is None:
        return longest_s
    try:
        wished_s = float(header)
    except ValueError:
        wished_s = 0.0
    if not wished_s > 0:
        raise InvalidRequest("The header x-bascule-timeout-s is a number of seconds above 0.")
    return min(wished_s, longest_s)
