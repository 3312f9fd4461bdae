"""Azure OpenAI: OpenAI's formats at a resource's own address, by its v1 API or by deployments and a dated API version.

URLs, headers and the OAuth exchange as in Microsoft's REST reference and the openai SDK's `lib/azure.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, Self
from urllib.parse import quote, urlencode

import msgspec
from pydantic import BaseModel, ConfigDict, Field, model_validator

from bascule.core.calls import Call
from bascule.core.chat import ChatRequest
from bascule.core.embedding import EmbeddingRequest
from bascule.core.errors import UpstreamInvalid, UpstreamTimeout, UpstreamUnavailable
from bascule.core.http import HttpClient, HttpReply
from bascule.core.resources import Resources
from bascule.core.secret import Secret, bearer_header
from bascule.plugins.providers._openai import SpeaksOpenai

NAME: Final = "azure_openai"
RENEW_BEFORE_S: Final = 300.0
MAX_TOKEN_BYTES: Final = 64_000


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str = Field(description="The resource's address, e.g. https://NAME.openai.azure.com.")
    api_version: str | None = Field(
        None,
        pattern=r"^[0-9A-Za-z.-]+$",
        description="A dated version, e.g. 2024-10-21, for addresses by deployment; without one the v1 API is used.",
    )
    api_key: str | None = Field(None, description='A reference: "env:NAME" or "file:PATH".')
    tenant_id: str | None = Field(None, description="Microsoft Entra ID, in place of api_key: the directory's id.")
    client_id: str | None = Field(None, description="The application's id.")
    client_secret: str | None = Field(None, description='Its secret. A reference: "env:NAME" or "file:PATH".')
    scope: str = Field("https://cognitiveservices.azure.com/.default", description="What the token is asked for.")
    authority: str = Field("https://login.microsoftonline.com", description="Where tokens are had.")
    max_reply_bytes: int = Field(20_000_000, gt=0, description="Largest answer accepted.")
    stream_usage: bool = Field(True, description="Ask for usage in streams; off for versions that refuse the option.")
    responses: bool = Field(False, description="Forward /responses as they are; with the v1 API only.")

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        entra = (self.tenant_id, self.client_id, self.client_secret)
        if (self.api_key is None) == (None in entra) or (self.api_key is not None and any(entra)):
            raise ValueError("give either api_key, or tenant_id, client_id and client_secret")
        if self.responses and self.api_version:
            raise ValueError("responses needs the v1 API: leave api_version out")
        return self


class _Token(msgspec.Struct):
    access_token: str
    expires_in: float = 0.0


_decode_token = msgspec.json.Decoder(_Token, strict=False).decode


class AzureProvider(SpeaksOpenai):
    """`model` of a target is the deployment's name."""

    def __init__(self, settings: Settings, http: HttpClient, key: str) -> None:
        base = settings.base_url.rstrip("/").removesuffix("/v1").removesuffix("/openai")
        self._root = f"{base}/openai/deployments/"
        self._query = f"?api-version={settings.api_version}" if settings.api_version else ""
        super().__init__(
            NAME,
            f"{base}/openai/v1",
            http,
            {"api-key": key} if settings.api_key else {},
            key,
            max_reply_bytes=settings.max_reply_bytes,
            stream_usage=settings.stream_usage,
            responses=settings.responses,
        )

    def _url(self, request: ChatRequest) -> str:
        url = super()._url(request)
        return self._deployment(request.model, "/chat/completions") if self._query else url

    def _embedding_url(self, request: EmbeddingRequest) -> str:
        return self._deployment(request.model, "/embeddings") if self._query else self._embed_url

    def _deployment(self, name: str, path: str) -> str:
        return f"{self._root}{quote(name, safe='')}{path}{self._query}"


class EntraProvider(AzureProvider):
    """With a token of Microsoft Entra ID, had by the application's own credentials (RFC 6749, section 4.4)."""

    def __init__(self, settings: Settings, http: HttpClient, key: str) -> None:
        super().__init__(settings, http, key)
        self._token_url = (
            f"{settings.authority.rstrip('/')}/{quote(settings.tenant_id or '', safe='')}/oauth2/v2.0/token"
        )
        asked = {"client_id": settings.client_id, "client_secret": key, "scope": settings.scope}
        self._asked = urlencode(asked | {"grant_type": "client_credentials"}).encode()
        self._renew_at_s = 0.0
        self._renewing = asyncio.Lock()

    async def _post(self, url: str, body: bytes, call: Call) -> HttpReply:
        if time.monotonic() >= self._renew_at_s:
            try:
                async with asyncio.timeout(call.deadline.check()), self._renewing:
                    if time.monotonic() >= self._renew_at_s:
                        await self._renew(call)
            except TimeoutError:
                raise UpstreamTimeout("The request's deadline ran out.", provider=NAME) from None
        return await super()._post(url, body, call)

    async def _renew(self, call: Call) -> None:
        headers = {"content-type": "application/x-www-form-urlencoded"}
        reply = await self._http.post(self._token_url, headers, self._asked, call.deadline.check())
        try:
            body = await reply.read(MAX_TOKEN_BYTES)
        finally:
            await reply.aclose()
        if reply.status != 200:
            message = "The model's provider gave us no token: the operator must check its credentials."
            raise UpstreamUnavailable(message, provider=NAME)
        try:
            found = _decode_token(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise UpstreamInvalid("The model's provider sent something that is not a token.", provider=NAME) from None
        self._headers = {"content-type": "application/json", **bearer_header(found.access_token)}
        self._secret = Secret(found.access_token)
        # A short-lived token is renewed half-way.
        self._renew_at_s = time.monotonic() + max(found.expires_in - RENEW_BEFORE_S, found.expires_in / 2)


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[AzureProvider]:
    made = AzureProvider if settings.api_key else EntraProvider
    yield made(settings, resources.http, resources.secret(settings.api_key or settings.client_secret or ""))
