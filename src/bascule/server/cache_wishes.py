"""What a caller wishes of the cache, in the standard's own header. It can only narrow what the route allows."""

from __future__ import annotations

from bascule.core.calls import CacheDirectives
from bascule.server.exchange import Exchange


def cache_wishes(exchange: Exchange) -> CacheDirectives | None:
    """The request's `Cache-Control`; None when it wishes nothing."""
    header = exchange.headers.get(b"cache-control")
    return directives(header.decode("latin-1")) if header else None


def directives(text: str) -> CacheDirectives | None:
    """The request's `Cache-Control` (RFC 9111, section 5.2.1); what we do not know is ignored, as the standard says."""
    no_store = no_cache = False
    max_age_s: float | None = None
    for part in text.lower().split(","):
        name, _, value = part.strip().partition("=")
        no_store = no_store or name == "no-store"
        no_cache = no_cache or name == "no-cache"
        if name == "max-age" and value.strip('"').isdigit():
            max_age_s = float(value.strip('"'))
    if not (no_store or no_cache or max_age_s is not None):
        return None
    return CacheDirectives(no_store=no_store, no_cache=no_cache, max_age_s=max_age_s)
