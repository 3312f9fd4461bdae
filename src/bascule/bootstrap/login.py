"""Signing in to the console, from the settings: whose provider, and how its two addresses are reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from bascule.access.login import Login, LoginRules, Post
from bascule.access.tokens import Issuer, TokenVerifier
from bascule.bootstrap.plugins import secret
from bascule.bootstrap.tokens import getter, issuer_fields
from bascule.core.errors import AuthenticationFailed, ConfigError, StorageError, UpstreamError
from bascule.core.http import HttpClient
from bascule.settings import Settings

_LARGEST_BYTES = 256_000
_LONGEST_S = 5.0


def open_login(settings: Settings, http: HttpClient, inactive: Callable[[str, str], bool]) -> Login | None:
    """None without [login]. Raises ConfigError naming the key."""
    wanted = settings.login
    if not wanted.issuer:
        return None
    given = settings.tokens.get(wanted.issuer)
    if given is None:
        raise ConfigError(f"login.issuer names {wanted.issuer!r}, which is not under [tokens].")
    for name in ("client_id", "public_url"):
        if not getattr(wanted, name):
            raise ConfigError(f"login.{name} is missing.")
    if "openid" not in wanted.asks:
        raise ConfigError('login.asks lacks "openid", without which there is no id token.')
    issuer = msgspec.structs.replace(Issuer(name=wanted.issuer, **issuer_fields(given)), audience=wanted.client_id)
    rules = LoginRules(
        issuer=issuer,
        client_id=wanted.client_id,
        client_secret=secret(wanted.client_secret) if wanted.client_secret else None,
        redirect_uri=f"{wanted.public_url}/console/signed-in",
        asks=" ".join(wanted.asks),
        session_s=wanted.session_s,
    )
    get = getter([given])
    return Login(rules, TokenVerifier([issuer], get, inactive), get, _poster(http))


def _poster(http: HttpClient) -> Post:
    async def post(url: str, headers: Mapping[str, str], body: bytes) -> bytes:
        try:
            reply = await http.post(url, headers, body, _LONGEST_S)
            try:
                data = await reply.read(_LARGEST_BYTES)
            finally:
                await reply.aclose()
        except UpstreamError:
            raise StorageError("The identity provider does not answer at the moment.") from None
        if reply.status >= 500 or reply.status == 429:
            raise StorageError("The identity provider does not answer at the moment.")
        if reply.status >= 400:  # whatever stands in it: some send a page
            raise AuthenticationFailed(f"The identity provider answered {reply.status}.")
        return data

    return post
