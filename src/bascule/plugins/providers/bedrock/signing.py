"""What authorises a call: a Bedrock API key, or Signature Version 4 by botocore's signer. botocore carries no call."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final, Protocol

from botocore.auth import SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials, RefreshableCredentials  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]
from botocore.session import Session  # type: ignore[import-untyped]

from bascule.core.errors import ConfigError, UpstreamTimeout, UpstreamUnavailable
from bascule.core.secret import bearer_header

SERVICE: Final = "bedrock"
_JSON: Final = {"content-type": "application/json"}
# At debug level botocore writes the session token and the signature into the log.
logging.getLogger("botocore.auth").setLevel(logging.INFO)
logging.getLogger("botocore.credentials").setLevel(logging.WARNING)


class Signer(Protocol):
    async def headers(self, url: str, body: bytes, timeout_s: float) -> Mapping[str, str]:
        """Raises UpstreamUnavailable, UpstreamTimeout."""
        ...


class BearerSigner:
    def __init__(self, key: str) -> None:
        self._headers = {**_JSON, **bearer_header(key)}

    async def headers(self, url: str, body: bytes, timeout_s: float) -> Mapping[str, str]:
        return self._headers


class SigV4Signer:
    """`credentials` of botocore: fixed ones, or such that are renewed, which is done in a thread."""

    def __init__(self, credentials: Credentials, region: str) -> None:
        self._credentials = credentials
        self._region = region
        self._frozen: Any = None
        self._renewing = asyncio.Lock()

    async def headers(self, url: str, body: bytes, timeout_s: float) -> Mapping[str, str]:
        if self._due():
            await self._renew(timeout_s)
        request = AWSRequest(method="POST", url=url, data=body, headers=dict(_JSON))
        SigV4Auth(self._frozen, SERVICE, self._region).add_auth(request)
        return {name.lower(): value for name, value in request.headers.items()}

    def _due(self) -> bool:
        if self._frozen is None:
            return True
        credentials = self._credentials
        return isinstance(credentials, RefreshableCredentials) and bool(credentials.refresh_needed())

    async def _renew(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s), self._renewing:
                if self._due():
                    self._frozen = await asyncio.to_thread(self._credentials.get_frozen_credentials)
        except TimeoutError:
            raise UpstreamTimeout("The request's deadline ran out.") from None
        except BotoCoreError:
            raise UpstreamUnavailable("The credentials for the model's provider could not be renewed.") from None


def fixed(access_key_id: str, secret_access_key: str, token: str | None, region: str) -> SigV4Signer:
    return SigV4Signer(Credentials(access_key_id, secret_access_key, token), region)


async def from_chain(region: str, profile: str | None) -> SigV4Signer:
    """Credentials by botocore's chain (environment, shared files, SSO, container, instance). Raises ConfigError."""
    try:
        found = await asyncio.to_thread(lambda: Session(profile=profile).get_credentials())
    except BotoCoreError as error:
        raise ConfigError(f"No AWS credentials were found: {type(error).__name__}.") from None
    if found is None:
        raise ConfigError(
            "No AWS credentials were found: set api_key, access_key_id or what botocore's chain looks for."
        )
    return SigV4Signer(found, region)
