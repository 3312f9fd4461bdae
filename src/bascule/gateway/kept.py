"""What the cache keeps: which answers are good enough, how they are written, and how they are read again.

An entry that cannot be read (another version wrote it, or something else did) is no entry.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Sequence
from typing import Final, TypeVar

import msgspec

from bascule.core.calls import Call
from bascule.core.chat import ChatChunk, ChatResponse, ChatStream
from bascule.core.embedding import EmbeddingResponse
from bascule.core.errors import RequestError

TOOL_FINISHES: Final = frozenset({"tool_calls", "function_call", "tool_use"})
GOOD_FINISHES: Final = TOOL_FINISHES | {"stop", "end_turn", "stop_sequence", "completed"}

# Measured on 2 cores: 8 KB of answer shrink by half in 50 us and come back in 16 us; 90 KB of stream events shrink to 4 KB in
# 150 us and come back in 66 us. Below 4 KB the gain is not worth the time of a hit.
COMPRESS_BYTES: Final = 4_096
THREAD_BYTES: Final = 65_536  # larger ones are compressed beside the event loop
INFLATED_MAX: Final = 64  # times the largest entry: what a forged one may grow to is bounded
_ZLIB: Final = b"\x78"  # how zlib begins; never an entry, which is a msgpack array


class NotCached(RequestError):
    """`only-if-cached` (RFC 9111, section 5.2.1.7), and nothing is kept."""

    code = "not_cached"
    http_status = 504


class KeptResponse(msgspec.Struct, frozen=True, array_like=True):
    """`fresh_s`: how long after `stored_at_s` it may be given as fresh."""

    stored_at_s: float
    fresh_s: float
    response: ChatResponse


class KeptStream(msgspec.Struct, frozen=True, array_like=True):
    stored_at_s: float
    fresh_s: float
    wire: str
    model: str
    provider: str
    chunks: list[ChatChunk]


class KeptVector(msgspec.Struct, frozen=True, array_like=True):
    stored_at_s: float
    fresh_s: float
    vector: bytes
    model: str
    provider: str
    fingerprint: str


class KeptBatch(msgspec.Struct, frozen=True, array_like=True):
    """One embedding call's whole answer, kept for a moment for other servers that wait for it."""

    stored_at_s: float
    fresh_s: float
    response: EmbeddingResponse


Kept = TypeVar("Kept", KeptResponse, KeptStream, KeptVector, KeptBatch)

RESPONSES: Final = msgspec.msgpack.Decoder(KeptResponse)
STREAMS: Final = msgspec.msgpack.Decoder(KeptStream)
VECTORS: Final = msgspec.msgpack.Decoder(KeptVector)
BATCHES: Final = msgspec.msgpack.Decoder(KeptBatch)
_encode = msgspec.msgpack.Encoder().encode


def refuse_if_only_cached(call: Call) -> None:
    """Raises NotCached where the caller wants no model to be asked."""
    wishes = call.directives
    if wishes is not None and wishes.only_if_cached:
        raise NotCached("There is no answer in the cache for this request.")


def good_response(response: ChatResponse) -> bool:
    """Complete, and more than white space. A tool call without text is complete with a finish that says so."""
    return response.complete and (bool(response.text.strip()) or response.finish in TOOL_FINISHES)


def good_stream(chunks: Sequence[ChatChunk]) -> bool:
    """Ended with the format's own end, finished as a good answer does in every choice, and not empty."""
    finishes = {chunk.finish for chunk in chunks if chunk.finish}
    if not chunks or not chunks[-1].last or not finishes or not finishes <= GOOD_FINISHES:
        return False
    return not finishes.isdisjoint(TOOL_FINISHES) or any(chunk.text.strip() for chunk in chunks)


def replay(entry: KeptStream) -> ChatStream:
    return ChatStream(_again(entry.chunks), wire=entry.wire, model=entry.model, provider=entry.provider)


async def _again(chunks: list[ChatChunk]) -> AsyncIterator[ChatChunk]:
    for chunk in chunks:
        yield chunk


async def pack(kept: msgspec.Struct) -> bytes:
    """The bytes to store: compressed where that pays."""
    value = _encode(kept)
    if len(value) < COMPRESS_BYTES:
        return value
    small = zlib.compress(value, 1) if len(value) < THREAD_BYTES else await asyncio.to_thread(zlib.compress, value, 1)
    return small if len(small) < len(value) else value


def unpack(value: bytes, decoder: msgspec.msgpack.Decoder[Kept], max_entry_bytes: int) -> Kept | None:
    """None for anything that is not such an entry."""
    try:
        if value[:1] == _ZLIB:
            inflate = zlib.decompressobj()
            value = inflate.decompress(value, INFLATED_MAX * max_entry_bytes)
            if not inflate.eof:
                return None
        return decoder.decode(value)
    except (msgspec.DecodeError, zlib.error, ValueError):
        return None
