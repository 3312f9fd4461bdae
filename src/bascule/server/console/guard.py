"""What a browser must show before the console answers it: a host name of ours, and for a change, a page of ours as its origin."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from bascule.core.errors import RequestError
from bascule.server.exchange import Exchange, Header

CONTENT_SECURITY_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS: Final[tuple[Header, ...]] = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    # Not no-referrer: under it a browser sends `Origin: null` with a form.
    (b"referrer-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)


class WrongHost(RequestError):
    code = "wrong_host"
    http_status = 421


class WrongOrigin(RequestError):
    code = "wrong_origin"
    kind = "permission_error"
    http_status = 403


def check_host(exchange: Exchange, allowed: Collection[str]) -> None:
    """Loopback names, addresses and `server.allowed_hosts`: a foreign name that resolves to us is DNS rebinding."""
    name = host_name(exchange.header(b"host"))
    if name == "localhost" or name.endswith(".localhost") or name in {h.lower() for h in allowed} or _is_address(name):
        return
    raise WrongHost("The console does not answer to this host name. An operator can add it to server.allowed_hosts.")


def check_origin(exchange: Exchange) -> None:
    """A change comes from our own page. Raises WrongOrigin."""
    origin = exchange.header(b"origin")
    if origin:
        if urlsplit(origin).netloc.lower() == exchange.header(b"host").lower():
            return
    elif exchange.header(b"sec-fetch-site") == "same-origin":
        return
    raise WrongOrigin("This request did not come from the console's own page.")


def is_secure(exchange: Exchange) -> bool:
    """The browser itself came by https, whatever stands in between."""
    return exchange.header(b"origin").startswith("https:")


def host_name(header: str) -> str:
    """The name without its port, in lower case."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0].lower().rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
