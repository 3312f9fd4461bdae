"""Who asks: from the request's headers to a Principal with the scope a route needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bascule.core.errors import ScopeMissing
from bascule.core.principals import Principal
from bascule.server.exchange import Exchange

if TYPE_CHECKING:
    from bascule.bootstrap import App


def authenticate(app: App, exchange: Exchange) -> Principal:
    """Raises AuthenticationFailed."""
    return app.authenticator.principal(authorization(exchange.headers))


def authorization(headers: Mapping[bytes, bytes]) -> str | None:
    """`Authorization: Bearer KEY` or `x-api-key: KEY`; the first wins."""
    found = headers.get(b"authorization")
    if found is not None:
        return found.decode("latin-1")
    key = headers.get(b"x-api-key")
    return f"Bearer {key.decode('latin-1')}" if key else None


def require(principal: Principal, scope: str) -> None:
    """Raises ScopeMissing; "" asks for any valid credential."""
    if scope and not principal.can(scope):
        raise ScopeMissing(f"This key lacks the scope {scope!r}. Ask an administrator for a key that has it.")
