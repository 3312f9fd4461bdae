"""From an error to a response: OpenAI's error body, or Anthropic's on its paths; the error's own status, and never a secret, a
text or a path."""

from __future__ import annotations

import logging
import math
import traceback
from functools import lru_cache
from typing import Any

import msgspec

from bascule.core.chat import ANTHROPIC_MESSAGES, OPENAI_CHAT
from bascule.core.errors import (
    AllTargetsFailed,
    BasculeError,
    ConfigError,
    LimitExceeded,
    StorageError,
    UpstreamRejected,
)
from bascule.core.wires.anthropic import error_body
from bascule.server.exchange import Header, Reply
from bascule.server.scim_views import TYPE as SCIM
from bascule.server.scim_views import error_body as error_of

log = logging.getLogger(__name__)

_HIDDEN_STATUSES = frozenset({401, 403, 407})


class ErrorDetail(msgspec.Struct, frozen=True):
    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(msgspec.Struct, frozen=True):
    """OpenAI's error body."""

    error: ErrorDetail


def to_body(error: BaseException) -> ErrorBody:
    """What the caller is told. Anything but a BasculeError is `internal_error` and says nothing more."""
    if isinstance(error, ConfigError) or not isinstance(error, BasculeError):
        return ErrorBody(
            ErrorDetail(
                "Something went wrong here. The log has the request id.", "server_error", None, "internal_error"
            )
        )
    return ErrorBody(ErrorDetail(_message(error), error.kind, error.param, error.code))


def to_reply(error: BaseException, headers: tuple[Header, ...] = ()) -> Reply:
    """The response for an error that came before the first byte of another answer."""
    rejected = _rejected(error)
    if rejected is not None and rejected.body and rejected.wire == OPENAI_CHAT and not _is_ours(rejected):
        return Reply(rejected.http_status, rejected.body, headers=headers)
    return Reply(_status(error), msgspec.json.encode(to_body(error)), headers=headers + _headers(error))


def to_event(error: BaseException) -> bytes:
    """The data of a stream's `error` event."""
    return msgspec.json.encode(to_body(error))


def to_anthropic_reply(error: BaseException, request_id: str, headers: tuple[Header, ...] = ()) -> Reply:
    """As `to_reply`, in Anthropic's words: {"type": "error", "error": {"type", "message"}, "request_id"}."""
    headers = ((b"request-id", request_id.encode()), *headers)
    rejected = _rejected(error)
    if rejected is not None and rejected.body and rejected.wire == ANTHROPIC_MESSAGES and not _is_ours(rejected):
        return Reply(rejected.http_status, rejected.body, headers=headers)
    status, message = _status(error), to_body(error).error.message
    return Reply(status, error_body(status, message, request_id), headers=headers + _headers(error))


def to_scim_reply(error: BaseException, headers: tuple[Header, ...] = ()) -> Reply:
    """As `to_reply`, in SCIM's words (RFC 7644, 3.12)."""
    status, told = _status(error), to_body(error).error
    kind = getattr(error, "scim_type", "") if isinstance(error, BasculeError) else ""
    if not kind and status == 400:
        kind = "invalidSyntax"
    return Reply(status, error_of(status, told.message, kind), SCIM, headers + _headers(error))


def to_anthropic_event(error: BaseException, request_id: str) -> bytes:
    """The data of a stream's `error` event, in Anthropic's words."""
    return error_body(_status(error), to_body(error).error.message, request_id)


def report(error: BaseException, request_id: str) -> None:
    """Log an unforeseen error by type and place. Its message may hold a document's text, so it is not written."""
    if isinstance(error, StorageError):
        log.error("request %s: storage did not answer: %s", request_id, type(error.__cause__ or error).__name__)
    if isinstance(error, BasculeError) and not isinstance(error, ConfigError):
        return
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    places = " < ".join(f"{f.name}:{f.lineno}" for f in reversed(frames))
    log.error("request %s: unforeseen %s in %s", request_id, type(error).__name__, places)


def _status(error: BaseException) -> int:
    if not isinstance(error, BasculeError) or isinstance(error, ConfigError):
        return 500
    rejected = _rejected(error)
    if rejected is not None and _is_ours(rejected):
        return 502
    return error.http_status


def _message(error: BasculeError) -> str:
    rejected = _rejected(error)
    if rejected is not None and _is_ours(rejected):
        return "The model's provider refused the credentials this server uses. Its operator can mend that."
    return error.message


def _headers(error: BaseException) -> tuple[Header, ...]:
    found: list[Header] = []
    wait_s: Any = getattr(error, "retry_after_s", None)
    if wait_s is not None:
        found.append((b"retry-after", b"%d" % max(1, math.ceil(wait_s))))
    if isinstance(error, LimitExceeded):
        found.append((b"x-bascule-limit", header_value(error.limit)))
    if isinstance(error, BasculeError) and error.http_status == 401:
        found.append((b"www-authenticate", b"Bearer"))
    return tuple(found)


@lru_cache(maxsize=512)
def header_value(text: str) -> bytes:
    """Printable ASCII only: a header is no place for a line break."""
    return "".join(c if " " <= c <= "~" else "?" for c in text[:200]).encode("ascii")


def _rejected(error: BaseException) -> UpstreamRejected | None:
    found = error.last if isinstance(error, AllTargetsFailed) else error
    return found if isinstance(found, UpstreamRejected) else None


def _is_ours(error: UpstreamRejected) -> bool:
    """A vendor that refuses our credential has no quarrel with the caller, and its words may quote the credential."""
    return error.http_status in _HIDDEN_STATUSES
