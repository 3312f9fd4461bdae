"""One target is asked: its breaker says whether, its load says how many at once, and its verdict feeds the breaker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

from bascule.core.calls import Call
from bascule.core.chat import ChatStream
from bascule.core.deadlines import Deadline
from bascule.core.errors import BasculeError, ServerExhausted, UpstreamError, UpstreamRateLimited, UpstreamUnavailable
from bascule.gateway.breaker import REFUSED
from bascule.gateway.deployments import Deployment
from bascule.gateway.load import Load
from bascule.gateway.retry import silent

T = TypeVar("T")


async def ask(
    deployment: Deployment, call: Call, attempt: Callable[[Deployment, Call], Awaitable[T]], until: Deadline
) -> T:
    """Raises what the target raises, UpstreamUnavailable at once while its breaker is open."""
    breaker = deployment.breaker
    ticket = breaker.admit()
    if ticket == REFUSED:
        message = "The model's provider has failed repeatedly and is not asked for a while."
        raise UpstreamUnavailable(message, provider=deployment.target.provider, retry_after_s=breaker.wait_s())
    try:
        result = await attempt(deployment, call)
    except ServerExhausted:
        breaker.unknown(ticket)  # it says nothing about the vendor
        raise
    except BasculeError as error:
        if isinstance(error, UpstreamError) and error.retryable and not isinstance(error, UpstreamRateLimited):
            breaker.fault(ticket)
        else:
            breaker.success(ticket)
        raise
    except BaseException:
        if silent(call, until):
            breaker.fault(ticket)
        else:
            breaker.unknown(ticket)
        raise
    breaker.success(ticket)
    return result


async def ask_holding(
    deployment: Deployment,
    call: Call,
    attempt: Callable[[Deployment, Call], Awaitable[T]],
    until: Deadline,
    load: Load,
) -> T:
    """`ask` with a place of `load` that was taken before; a stream keeps it until it is closed."""
    try:
        result = await ask(deployment, call, attempt, until)
    except BaseException:
        load.release()
        raise
    if isinstance(result, ChatStream):
        return cast("T", _holding(result, load))
    load.release()
    return result


def _holding(stream: ChatStream, load: Load) -> ChatStream:
    held = True

    async def close() -> None:
        nonlocal held
        try:
            await stream.aclose()
        finally:
            if held:
                held = False
                load.release()

    return ChatStream(aiter(stream), wire=stream.wire, model=stream.model, provider=stream.provider, close=close)
