"""The model's turn: one call through the ChatModel port, read as it comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import msgspec

from bascule.core.calls import Call, Usage
from bascule.core.chat import ChatModel, ChatRequest
from bascule.core.errors import UpstreamInvalid

_FINISHED = frozenset({"stop", "end_turn", "stop_sequence"})


class Spoken(msgspec.Struct):
    """What the call left behind once its text has been read."""

    usage: Usage = Usage()
    complete: bool = False


async def speak(chat: ChatModel, request: ChatRequest, call: Call, spoken: Spoken) -> AsyncGenerator[str]:
    """The text: in one piece, or as it comes when `request.stream`. Fills `spoken`. Raises RequestError or UpstreamError."""
    if not request.stream:
        response = await chat.chat(request, call)
        spoken.usage, spoken.complete = response.usage, response.complete
        yield response.text
        return
    stream = await chat.stream(request, call)
    last = False
    try:
        async for chunk in stream:
            spoken.usage = chunk.usage or spoken.usage
            spoken.complete = spoken.complete or chunk.finish in _FINISHED
            last = last or chunk.last
            if chunk.text:
                yield chunk.text
    finally:
        await stream.aclose()
    if not last:
        raise UpstreamInvalid("The model's answer was cut off.")
