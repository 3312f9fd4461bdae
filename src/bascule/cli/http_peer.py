"""One Bascule server over HTTP, with the standard library alone: requests, and its errors as ours."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from bascule.core.errors import (
    AuthenticationFailed,
    BasculeError,
    ConfigError,
    Conflict,
    InvalidRequest,
    LimitExceeded,
    NotFound,
    PolicyRefused,
    ScopeMissing,
    StorageError,
    TooLarge,
    UpstreamTimeout,
    UpstreamUnavailable,
)

TIMEOUT_S: Final = 150.0

_BY_STATUS: Final[Mapping[int, type[BasculeError]]] = {
    400: InvalidRequest,
    401: AuthenticationFailed,
    403: ScopeMissing,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    422: InvalidRequest,
    503: StorageError,
    504: UpstreamTimeout,
}


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """`headers` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    data: bytes

    def json(self) -> Any:
        try:
            return json.loads(self.data) if self.data else None
        except ValueError:
            raise UpstreamUnavailable(
                "The server's answer is not JSON. Does BASCULE_URL name a Bascule server?"
            ) from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another host."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class HttpPeer:
    """`url` is the server's root, without `/v1`. Raises ConfigError when it is no http address."""

    def __init__(self, url: str, key: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ConfigError("BASCULE_URL must be an address like http://127.0.0.1:8400.")
        self.url = url.rstrip("/").removesuffix("/v1")
        self._key = key
        self._opener = urllib.request.build_opener(_NoRedirect)

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        data: bytes | None = None,
        content_type: str = "",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Reply:
        """One request, whatever its status. `body` is sent as JSON, `data` as it is.

        Raises UpstreamUnavailable when no answer comes.
        """
        sent = {"Accept": "application/json", **headers}
        if self._key:
            sent["Authorization"] = f"Bearer {self._key}"
        if body is not None:
            data, content_type = json.dumps(body).encode(), "application/json"
        if data is not None:
            sent["Content-Type"] = content_type
        request = urllib.request.Request(self.url + path, data=data, headers=sent, method=method)
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                return _reply(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return _reply(error.code, error.headers, error.read())
        except (urllib.error.URLError, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise UpstreamUnavailable(f"The server at {self.url} did not answer: {reason}.") from None

    def call(self, method: str, path: str, body: Any = None, **raw: Any) -> Any:
        """The parsed answer. Raises the BasculeError that the server's status stands for."""
        reply = self.send(method, path, body, **raw)
        if reply.status >= 300:
            raise failure(reply)
        return reply.json()


def failure(reply: Reply) -> BasculeError:
    """The error in a reply of OpenAI's shape, as one of ours."""
    message, code = _message(reply)
    if code == PolicyRefused.code:
        return PolicyRefused(message)
    if reply.status == 429:
        return LimitExceeded(message, limit="", retry_after_s=_seconds(reply.headers.get("retry-after", "")))
    return _BY_STATUS.get(reply.status, UpstreamUnavailable)(message)


def _message(reply: Reply) -> tuple[str, str]:
    fallback = f"The server answered with status {reply.status}."
    try:
        error = json.loads(reply.data)["error"]
        return str(error["message"]) or fallback, str(error.get("code", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        return fallback, ""


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _reply(status: int, headers: Any, data: bytes) -> Reply:
    return Reply(status=status, headers={str(k).lower(): str(v) for k, v in headers.items()}, data=data)
