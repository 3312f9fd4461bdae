"""Access tokens of Google Cloud by google-auth, which carries no model call: only its exchange for a token."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, Final

import google.auth
import msgspec
from google.auth import transport
from google.auth.credentials import Credentials, TokenState
from google.auth.exceptions import GoogleAuthError, TransportError
from google.oauth2 import service_account

from bascule.core.errors import ConfigError, UpstreamTimeout, UpstreamUnavailable

SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)
LONGEST_S: Final = 10.0
MAX_REPLY_BYTES: Final = 64_000


class GoogleTokens:
    """Renewed in a thread, by one call at a time; while an old token still holds, the others go on with it."""

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials
        self._renewing = asyncio.Lock()

    async def headers(self, timeout_s: float) -> Mapping[str, str]:
        """Raises UpstreamUnavailable, UpstreamTimeout."""
        state = self._credentials.token_state
        if state is TokenState.INVALID or (state is TokenState.STALE and not self._renewing.locked()):
            await self._renew(timeout_s)
        return {"authorization": f"Bearer {self._credentials.token}"}

    async def _renew(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s), self._renewing:
                if self._credentials.token_state is not TokenState.FRESH:
                    await asyncio.to_thread(self._credentials.refresh, Exchange())
        except TimeoutError:
            raise UpstreamTimeout("The request's deadline ran out.") from None
        except GoogleAuthError:
            if self._credentials.token_state is TokenState.INVALID:
                message = "The model's provider gave us no token: the operator must check its credentials."
                raise UpstreamUnavailable(message) from None


class Exchange(transport.Request):
    """google-auth's transport over the standard library, with no proxy from the environment."""

    def __init__(self) -> None:
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> Answer:
        data = body.encode() if isinstance(body, str) else body
        request = urllib.request.Request(url, data=data, headers=dict(headers or {}), method=method)
        try:
            with self._opener.open(request, timeout=min(timeout or LONGEST_S, LONGEST_S)) as reply:
                return Answer(reply.status, dict(reply.headers), reply.read(MAX_REPLY_BYTES))
        except urllib.error.HTTPError as refused:
            with refused:
                return Answer(refused.code, dict(refused.headers), refused.read(MAX_REPLY_BYTES))
        except OSError as error:
            raise TransportError(type(error).__name__) from None  # type: ignore[no-untyped-call]


class Answer(transport.Response):
    def __init__(self, status: int, headers: Mapping[str, str], data: bytes) -> None:
        self._told = (status, headers, data)

    @property
    def status(self) -> int:
        return self._told[0]

    @property
    def headers(self) -> Mapping[str, str]:
        return self._told[1]

    @property
    def data(self) -> bytes:
        return self._told[2]


def of_service_account(key: str) -> GoogleTokens:
    """`key`: the JSON that Google gives out. Raises ConfigError."""
    try:
        made: Any = service_account.Credentials.from_service_account_info  # untyped there
        found = made(msgspec.json.decode(key), scopes=SCOPES)
    except (msgspec.DecodeError, GoogleAuthError, ValueError, TypeError, KeyError, AttributeError):
        raise ConfigError("The credentials of a provider of kind vertex are not a service account's key.") from None
    return GoogleTokens(found)


async def from_chain() -> GoogleTokens:
    """Raises ConfigError."""
    try:
        found: tuple[Credentials, str | None] = await asyncio.to_thread(google.auth.default, scopes=SCOPES)
    except GoogleAuthError as error:
        message = f"No Google credentials were found ({type(error).__name__}): set credentials or api_key."
        raise ConfigError(message) from None
    return GoogleTokens(found[0])
