"""The console's door: in by an API key or by an identity provider, and out. Who is in is looked up anew for each page."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlsplit

from bascule.access.login import NotBegun
from bascule.bootstrap.plugins import secret
from bascule.core.errors import AuthenticationFailed, InvalidRequest, NotFound
from bascule.core.principals import Principal
from bascule.server.console.guard import WrongOrigin, host_name, is_secure
from bascule.server.console.sessions import (
    FLOW_COOKIE,
    Attempts,
    Here,
    Session,
    Sessions,
    cookie_values,
    flow_cookie,
    set_cookie,
)
from bascule.server.exchange import Exchange

if TYPE_CHECKING:
    from bascule.bootstrap import App

FORM_BYTES: Final = 64_000


class TooManyAttempts(Exception):
    def __init__(self, wait_s: float) -> None:
        super().__init__(wait_s)
        self.wait_s = wait_s


class Door:
    def __init__(self, app: App) -> None:
        self._app = app
        self._sessions = Sessions(app.state if app.state.shared else Here(), _shared_secret(app))
        self._attempts = Attempts()

    @property
    def label(self) -> str:
        """Whom one can sign in with beside a key; "" for nobody."""
        return self._app.settings.login.label if self._app.login is not None else ""

    async def session(self, exchange: Exchange) -> Session:
        """Raises AuthenticationFailed, StorageError."""
        for session_id in self._ids(exchange):
            found = await self._sessions.find(session_id)
            if found is not None:
                return found
        raise AuthenticationFailed("Sign in first.")

    async def principal(self, exchange: Exchange) -> Principal:
        """Raises AuthenticationFailed, also when the session's key has been revoked, or its user switched off, meanwhile;
        StorageError."""
        return self._holder(await self.session(exchange))

    def _holder(self, session: Session) -> Principal:
        if session.principal is None:
            return self._app.authenticator.known(session.key_hash)
        if self._app.authenticator.is_off(session.principal.tenant, session.principal.subject):
            raise AuthenticationFailed("Sign in again.")
        return self._app.authenticator.with_the_rest(session.principal)

    async def check_token(self, exchange: Exchange, form: Mapping[str, str]) -> None:
        """A change carries the token that only the session's own page holds. Raises WrongOrigin, AuthenticationFailed."""
        given = exchange.header(b"x-bascule-csrf") or form.get("csrf", "")
        if not hmac.compare_digest(given.encode(), (await self.session(exchange)).csrf.encode()):
            raise WrongOrigin("This request did not come from the console's own page.")

    # ------------------------------------------------------------ by a key

    async def by_key(self, exchange: Exchange, key: str) -> bytes:
        """The cookie. Raises AuthenticationFailed, TooManyAttempts; StorageError when it cannot be written in the audit log."""
        self._may_try(exchange)
        authorization = f"Bearer {key}"
        try:
            principal = self._app.authenticator.principal(authorization)
        except AuthenticationFailed:
            self._attempts.failed(exchange.client_host)
            raise
        await self._app.catalogue.audit(principal, "console.sign_in", _who(principal), {"by": "key"})
        return await self._opened(exchange, await self._sessions.begin(self._app.authenticator.hashed(authorization)))

    # ------------------------------------------------------------ by an identity provider

    async def to_provider(self, exchange: Exchange) -> tuple[str, bytes]:
        """Where the browser goes, and the cookie it goes with. Raises NotFound, TooManyAttempts, StorageError."""
        if self._app.login is None:
            raise NotFound("There is no such page.")
        self._may_try(exchange)
        begun = await self._app.login.begin()
        return begun.url, flow_cookie(begun.cookie, secure=self._secure(exchange))

    async def from_provider(self, exchange: Exchange) -> tuple[bytes, bytes]:
        """The session's cookie, and the one that ends the flow's. Raises as `to_provider`, and AuthenticationFailed."""
        if self._app.login is None:
            raise NotFound("There is no such page.")
        self._may_try(exchange)
        sealed = next(iter(cookie_values(exchange.header(b"cookie"), FLOW_COOKIE, self._only_secure(exchange))), "")
        try:
            found = await self._app.login.finish(_answer(exchange), sealed)
        except NotBegun:  # nothing was tried: a foreign page that sends people here shuts nobody out
            raise
        except AuthenticationFailed:
            self._attempts.failed(exchange.client_host)
            raise
        facts = {"by": self._app.settings.login.issuer}
        await self._app.catalogue.audit(found.principal, "console.sign_in", _who(found.principal), facts)
        session_id = await self._sessions.begin(principal=found.principal, lasts_s=found.lasts_s)
        return await self._opened(exchange, session_id), flow_cookie("", secure=self._secure(exchange))

    # ------------------------------------------------------------ out

    async def leave(self, exchange: Exchange, principal: Principal) -> bytes:
        """The cookie that takes the session's away. Every copy of it is worth nothing from now on, whatever the audit log does."""
        await self._end(exchange)
        await self._app.catalogue.audit(principal, "console.sign_out", _who(principal), {})
        return set_cookie("", secure=self._secure(exchange))

    async def _end(self, exchange: Exchange) -> None:
        for session_id in self._ids(exchange):
            await self._sessions.end(session_id)

    async def _opened(self, exchange: Exchange, session_id: str) -> bytes:
        """Whatever session the browser came with ends: nobody may have laid it there before."""
        await self._end(exchange)
        return set_cookie(session_id, secure=self._secure(exchange))

    def _may_try(self, exchange: Exchange) -> None:
        wait_s = self._attempts.wait_s(exchange.client_host)
        if wait_s > 0:
            raise TooManyAttempts(wait_s)

    def _ids(self, exchange: Exchange) -> list[str]:
        return cookie_values(exchange.header(b"cookie"), only_secure=self._only_secure(exchange))

    def _only_secure(self, exchange: Exchange) -> bool:
        """Where browsers come by https, a cookie without the prefix may have been laid by a neighbour domain."""
        return self._by_https(exchange)

    def _secure(self, exchange: Exchange) -> bool:
        return is_secure(exchange) or self._by_https(exchange)

    def _by_https(self, exchange: Exchange) -> bool:
        public = urlsplit(self._app.settings.login.public_url)
        return public.scheme == "https" and host_name(exchange.header(b"host")) == host_name(public.netloc)


def _shared_secret(app: App) -> bytes:
    """Of all servers that sign in at one provider; without a client secret, this process alone knows one."""
    reference = app.settings.login.client_secret
    return hashlib.sha256(b"console sessions:" + secret(reference).encode()).digest() if reference else b""


def _who(principal: Principal) -> str:
    return principal.subject or principal.key_id


def _answer(exchange: Exchange) -> dict[str, str]:
    """Raises InvalidRequest, also for a parameter that comes twice."""
    try:
        pairs = parse_qsl(exchange.scope["query_string"].decode("latin-1"), max_num_fields=10)
    except ValueError:
        raise InvalidRequest("This query cannot be read.") from None
    if len(dict(pairs)) != len(pairs):
        raise InvalidRequest("This query cannot be read.")
    return dict(pairs)
