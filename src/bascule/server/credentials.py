"""Who asks: from the request's headers to a Principal with the scope a route needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bascule.access.act_as import HEADER, speak_for
from bascule.access.authenticate import bearer
from bascule.access.tokens import looks_like_a_token
from bascule.core.errors import ScopeMissing
from bascule.core.principals import Principal
from bascule.server.exchange import Exchange

if TYPE_CHECKING:
    from bascule.bootstrap import App


async def authenticate(app: App, exchange: Exchange) -> Principal:
    """By a key, or by a signed token of an identity provider; for the end user that a service key names by a signed token.

    Raises AuthenticationFailed, ScopeMissing, StorageError.
    """
    given = authorization(exchange.headers)
    named = exchange.headers.get(HEADER)
    if named is None and app.tokens is None:
        return app.authenticator.principal(given)
    credential = bearer(given)
    if app.tokens is not None and looks_like_a_token(credential):
        principal = app.authenticator.with_the_rest(await app.tokens.principal(credential))
    else:
        principal = app.authenticator.principal(given)
    if named is None:
        return principal
    return speak_for(principal, credential, named.decode("latin-1"), app.authenticator.groups_of)


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
