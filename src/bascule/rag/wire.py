"""What the service and its parsing child say to each other: msgpack in frames of four length bytes. Never pickle."""

from __future__ import annotations

import struct
from typing import Final, Literal

import msgspec

from bascule.core.documents import PreparedDocument
from bascule.rag.confine import Limits, OcrLimits
from bascule.rag.prepare import PrepareOptions, RedactMode

HEADER: Final = struct.Struct(">I")


class Setup(msgspec.Struct, frozen=True, kw_only=True, tag="setup"):
    """`ocr` is None where no text in pictures is to be recognised."""

    limits: Limits
    prepare: PrepareOptions
    ocr: OcrLimits | None = None


class Work(msgspec.Struct, frozen=True, kw_only=True, tag="work"):
    data: bytes
    name: str
    media_type: str
    mode: RedactMode | None = None  # this document's own
    key: bytes = b""  # of its tenant's pseudonyms
    wanted: str = ""  # a pseudonym: its value is asked for, and no document


class Batch(msgspec.Struct, frozen=True, kw_only=True, tag="batch"):
    """Small documents, to be prepared one after the other, under the limits of a single one."""

    works: tuple[Work, ...]


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready"):
    """`confinement`: measure -> "applied" or why not."""

    confinement: dict[str, str]


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """`peak_bytes` is the most memory the child has held since it started; 0 where that is said for several at once."""

    document: PreparedDocument
    peak_bytes: int = 0


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag="refused"):
    """The document cannot be taken in; the child goes on, unless `fault` says what broke in it."""

    message: str
    reason: str
    fault: Literal["", "memory", "crash"] = ""


class Several(msgspec.Struct, frozen=True, kw_only=True, tag="several"):
    """What became of a batch's documents, in their order; the last one is the first that broke the child, if one did."""

    replies: tuple[Done | Refused, ...]
    peak_bytes: int


Reply = Ready | Done | Refused | Several

replies: Final[msgspec.msgpack.Decoder[Reply]] = msgspec.msgpack.Decoder(Reply)
setups: Final[msgspec.msgpack.Decoder[Setup]] = msgspec.msgpack.Decoder(Setup)
works: Final[msgspec.msgpack.Decoder[Work | Batch]] = msgspec.msgpack.Decoder(Work | Batch)


def frame(message: msgspec.Struct) -> bytes:
    body = msgspec.msgpack.encode(message)
    return HEADER.pack(len(body)) + body
