"""What every vendor's rerank call has in common: a question and texts go out, a list of (index, relevance) comes back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from bascule.core.calls import Call
from bascule.core.chat import OPENAI_CHAT
from bascule.core.documents import VisibleChunk
from bascule.core.errors import UpstreamError, UpstreamInvalid
from bascule.core.http import HttpClient
from bascule.core.resources import Resources
from bascule.core.upstream import MAX_ERROR_BYTES, status_error

MAX_REPLY_BYTES: Final = 4_000_000


class HttpSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    api_key: str | None = Field(None, description='A reference: "env:NAME" or "file:PATH".')
    max_chars: int = Field(4000, ge=200, le=100_000, description="Characters sent of each passage.")


class HttpReranker:
    """`fields`: what the vendor wants beside the question and the texts. `rows`: where its answer holds the list."""

    def __init__(
        self, name: str, url: str, http: HttpClient, key: str, fields: Mapping[str, Any], *, rows: str, max_chars: int
    ) -> None:
        self._name = name
        self._url = url
        self._http = http
        self._key = key
        self._fields = fields
        self._rows = rows
        self._max_chars = max_chars

    async def scores(self, question: str, chunks: Sequence[VisibleChunk], call: Call) -> list[float]:
        if not chunks:
            return []
        texts = [chunk.indexed_text[: self._max_chars] for chunk in chunks]
        body = msgspec.json.encode({**self._fields, "query": question, "documents": texts})
        return self._read(await self._post(body, call), len(texts))

    async def _post(self, body: bytes, call: Call) -> bytes:
        headers = {"content-type": "application/json", "accept": "application/json"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        reply = await self._http.post(self._url, headers, body, call.deadline.check())
        try:
            if reply.status == 200:
                return await reply.read(MAX_REPLY_BYTES)
            refused = b""
            with suppress(UpstreamError):
                refused = await reply.read(MAX_ERROR_BYTES)
        finally:
            await reply.aclose()
        retry_after = reply.headers.get("retry-after")
        raise status_error(reply.status, retry_after, refused, provider=self._name, wire=OPENAI_CHAT, secret=self._key)

    def _read(self, body: bytes, wanted: int) -> list[float]:
        """Raises UpstreamInvalid unless each text has one score that is a number."""
        try:
            rows = msgspec.json.decode(body)[self._rows]
            found = {int(row["index"]): float(row["relevance_score"]) for row in rows}
        except (msgspec.DecodeError, KeyError, TypeError, ValueError, OverflowError):
            raise self._invalid("an answer that is not a ranking") from None
        if found.keys() != set(range(wanted)) or not all(map(math.isfinite, found.values())):
            raise self._invalid("a ranking of other passages than it was given")
        return [found[at] for at in range(wanted)]

    def _invalid(self, what: str) -> UpstreamInvalid:
        return UpstreamInvalid(f"The reranker sent {what}.", provider=self._name)


def secret_of(settings: HttpSettings, resources: Resources) -> str:
    return resources.secret(settings.api_key) if settings.api_key else ""
