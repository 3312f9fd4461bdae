"""Everything that can go wrong, as one tree.

BasculeError
├── ConfigError                    the operator's settings are wrong; names the key and the fix
├── RequestError                   the caller's request cannot be served as sent
│   ├── InvalidRequest       400   malformed body, unknown field value, unsupported combination
│   ├── AuthenticationFailed 401   no credential, or one that is not valid
│   ├── ScopeMissing         403   a valid credential without the scope for this route
│   ├── PolicyRefused        403   a policy refused the text
│   ├── NotFound             404   missing *or* forbidden: the two look the same
│   ├── Conflict             409   the state of the thing does not allow it
│   ├── TooLarge             413   body, depth or count over its limit
│   └── LimitExceeded        429   a rate, token, money or concurrency limit; has retry_after_s
├── UpstreamError                  the model vendor did not give a good answer
│   ├── UpstreamTimeout      504   the deadline ran out
│   ├── UpstreamUnavailable  502   refused, reset, 5xx
│   ├── UpstreamRateLimited  429   the vendor's limit; has retry_after_s
│   ├── UpstreamRejected     4xx   the vendor refused this request; its status and body are passed on
│   ├── UpstreamInvalid      502   an answer that is not what the vendor's format says
│   └── AllTargetsFailed     502   every target of the route failed; keeps the last error
├── StorageError             503   the catalogue, index or state store did not answer
├── PolicyUnavailable        503   a policy that must judge the text could not
├── ServerExhausted          503   this machine has no descriptor, port or memory left; no fault of the vendor's
├── ServerStopping           503   the server is being stopped; another try finds its successor
└── IngestError              422   one document could not be taken in; the batch goes on

`code`, `http_status` and `retryable` are class attributes: retry, fallback and the HTTP edge ask the error and
never look at its text. Messages are written for the caller: no secret, no other tenant's data, no path.
"""

from __future__ import annotations

from typing import ClassVar


class BasculeError(Exception):
    code: ClassVar[str] = "internal_error"
    kind: ClassVar[str] = "server_error"
    http_status: int = 500
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, param: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s


class ConfigError(BasculeError):
    code = "invalid_configuration"


class RequestError(BasculeError):
    kind = "invalid_request_error"
    http_status = 400


class InvalidRequest(RequestError):
    code = "invalid_request"


class AuthenticationFailed(RequestError):
    code = "invalid_api_key"
    kind = "authentication_error"
    http_status = 401


class ScopeMissing(RequestError):
    code = "scope_missing"
    kind = "permission_error"
    http_status = 403


class PolicyRefused(RequestError):
    code = "policy_refused"
    kind = "permission_error"
    http_status = 403


class NotFound(RequestError):
    code = "not_found"
    http_status = 404


class Conflict(RequestError):
    code = "conflict"
    http_status = 409


class TooLarge(RequestError):
    code = "too_large"
    http_status = 413


class LimitExceeded(RequestError):
    code = "rate_limit_exceeded"
    kind = "rate_limit_error"
    http_status = 429
    retryable = True

    def __init__(self, message: str, *, limit: str, retry_after_s: float) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.limit = limit


class UpstreamError(BasculeError):
    code = "upstream_error"
    kind = "upstream_error"
    http_status = 502

    def __init__(self, message: str, *, provider: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.provider = provider


class UpstreamTimeout(UpstreamError):
    code = "upstream_timeout"
    http_status = 504
    retryable = True


class UpstreamUnavailable(UpstreamError):
    code = "upstream_unavailable"
    retryable = True


class UpstreamRateLimited(UpstreamError):
    code = "upstream_rate_limited"
    kind = "rate_limit_error"
    http_status = 429
    retryable = True


class UpstreamRejected(UpstreamError):
    """The vendor refused this very request: never retried, never counted against the deployment."""

    code = "upstream_rejected"

    def __init__(
        self, message: str, *, provider: str = "", status: int = 400, body: bytes = b"", wire: str = ""
    ) -> None:
        super().__init__(message, provider=provider)
        self.http_status = status
        self.body = body
        self.wire = wire


class UpstreamInvalid(UpstreamError):
    code = "upstream_invalid"
    retryable = True


class AllTargetsFailed(UpstreamError):
    code = "all_targets_failed"

    def __init__(self, message: str, *, last: BasculeError) -> None:
        super().__init__(message, retry_after_s=last.retry_after_s)
        self.last = last
        self.http_status = last.http_status if isinstance(last, UpstreamError) else 502


class StorageError(BasculeError):
    code = "storage_unavailable"
    http_status = 503
    retryable = True


class PolicyUnavailable(BasculeError):
    code = "policy_unavailable"
    http_status = 503
    retryable = True


class ServerExhausted(BasculeError):
    code = "server_exhausted"
    http_status = 503
    retryable = True


class ServerStopping(BasculeError):
    code = "server_stopping"
    http_status = 503
    retryable = True


class IngestError(BasculeError):
    """One document could not be taken in. `message` says what to do about it."""

    code = "ingest_failed"
    kind = "invalid_request_error"
    http_status = 422

    def __init__(self, message: str, *, reason: str = "unreadable", transient: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.transient = transient
