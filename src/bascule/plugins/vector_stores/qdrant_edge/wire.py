"""What the service and the engine's process say to each other: msgpack in frames of four length bytes, arrays as their bytes."""

from __future__ import annotations

import socket
import struct
from typing import Final

import msgspec

HEADER: Final = struct.Struct(">I")


class Nearest(msgspec.Struct, frozen=True, tag="nearest"):
    """`vector`: float32. `allowed`: int64."""

    vector: bytes
    places: list[int]
    allowed: bytes
    limit: int
    ef: int


class Worded(msgspec.Struct, frozen=True, tag="worded"):
    tenant_id: int
    weights: dict[bytes, float]
    places: list[int]
    allowed: bytes
    limit: int


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The generation is open: sent once, unasked."""


class Found(msgspec.Struct, frozen=True, tag="found"):
    """`slots`: int64. `times`: uint32, a row for each slot."""

    slots: bytes
    last: float = 0.0
    times: bytes = b""


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """`why` is the name of an error's class: what the engine says may quote what was asked."""

    why: str


Question = Nearest | Worded
Reply = Ready | Found | Refused

questions: Final[msgspec.msgpack.Decoder[Question]] = msgspec.msgpack.Decoder(Question)
replies: Final[msgspec.msgpack.Decoder[Reply]] = msgspec.msgpack.Decoder(Reply)


def send(connection: socket.socket, message: Question | Reply) -> None:
    body = msgspec.msgpack.encode(message)
    connection.sendall(HEADER.pack(len(body)) + body)


def receive(connection: socket.socket) -> bytearray:
    """The next frame's body. Raises EOFError when the other side is gone."""
    return _exactly(connection, HEADER.unpack(_exactly(connection, HEADER.size))[0])


def _exactly(connection: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = connection.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return data
