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


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready"):
    """`confinement`: measure -> "applied" or why not."""

    confinement: dict[str, str]


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """`peak_bytes` is the most memory the child has held since it started."""

    document: PreparedDocument
    peak_bytes: int


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag="refused"):
    """The document cannot be taken in; the child goes on, unless `fault` says what broke in it."""

    message: str
    reason: str
    fault: Literal["", "memory", "crash"] = ""


Reply = Ready | Done | Refused

replies: Final[msgspec.msgpack.Decoder[Reply]] = msgspec.msgpack.Decoder(Reply)
setups: Final[msgspec.msgpack.Decoder[Setup]] = msgspec.msgpack.Decoder(Setup)
works: Final[msgspec.msgpack.Decoder[Work]] = msgspec.msgpack.Decoder(Work)


def frame(message: msgspec.Struct) -> bytes:
    body = msgspec.msgpack.encode(message)
    return HEADER.pack(len(body)) + body
