"""Who asks: from the request's headers to a Principal with the scope a route needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bascule.core.errors import ScopeMissing
from bascule.core.principals import Principal
from bascule.server.exchange import Exchange

if TYPE_CHECKING:
    from bascule.bootstrap import App


def authenticate(app: App, exchange: Exchange) -> Principal:
    """`Authorization: Bearer KEY` or `x-api-key: KEY`; the first wins. Raises AuthenticationFailed."""
    authorization = exchange.headers.get(b"authorization")
    if authorization is not None:
        return app.authenticator.principal(authorization.decode("latin-1"))
    key = exchange.headers.get(b"x-api-key")
    return app.authenticator.principal(f"Bearer {key.decode('latin-1')}" if key else None)


def require(principal: Principal, scope: str) -> None:
    """Raises ScopeMissing; "" asks for any valid credential."""
    if scope and not principal.can(scope):
        raise ScopeMissing(f"This key lacks the scope {scope!r}. Ask an administrator for a key that has it.")
