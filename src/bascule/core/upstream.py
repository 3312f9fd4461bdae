"""What a vendor's HTTP status means, for every provider alike. Nothing here looks at an error's text."""

from __future__ import annotations

import errno
import time
from email.utils import parsedate_to_datetime
from typing import Final

from bascule.core.errors import (
    BasculeError,
    ServerExhausted,
    UpstreamError,
    UpstreamInvalid,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamUnavailable,
)

MAX_ERROR_BYTES: Final = 64_000
MAX_RETRY_AFTER_S: Final = 86_400.0
_SHORTAGES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL})


def no_connection(error: BaseException) -> BasculeError:
    """Why a connection could not be had: a shortage of this machine's own is not held against the vendor."""
    if isinstance(error, OSError) and error.errno in _SHORTAGES:
        return ServerExhausted(
            "This server has no connection left for the model's provider. Try again.", retry_after_s=1
        )
    return UpstreamUnavailable("The connection to the model's provider failed.")


def retry_after_s(value: str | None) -> float | None:
    """Seconds to wait by a Retry-After header (RFC 9110, section 10.2.3: seconds or an HTTP date); None when there is none.

    Fractions, which some vendors send, are understood.
    """
    if not value:
        return None
    try:
        wait_s = float(value)
    except ValueError:
        try:
            wait_s = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    if wait_s != wait_s:
        return None
    return min(max(wait_s, 0.0), MAX_RETRY_AFTER_S)


def status_error(
    status: int, retry_after: str | None, body: bytes, *, provider: str, wire: str, secret: str = ""
) -> UpstreamError:
    """The error for a reply whose status is not 200. `secret` is blotted out of a body that is passed on."""
    wait_s = retry_after_s(retry_after)
    if status == 429:
        return UpstreamRateLimited("The model's provider limits requests.", provider=provider, retry_after_s=wait_s)
    if status >= 500 or status in (408, 409, 425):
        message = f"The model's provider answered with status {status}."
        return UpstreamUnavailable(message, provider=provider, retry_after_s=wait_s)
    if status < 400:
        return UpstreamInvalid(f"The model's provider answered with status {status}.", provider=provider)
    if secret:
        body = body.replace(secret.encode(), b"***")
    message = f"The model's provider refused the request with status {status}."
    return UpstreamRejected(message, provider=provider, status=status, body=body, wire=wire)
