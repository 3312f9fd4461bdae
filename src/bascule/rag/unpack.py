"""One file packed by gzip (RFC 1952), within bounds."""

from __future__ import annotations

import zlib
from typing import Final

from bascule.core.errors import IngestError

GZIP: Final = b"\x1f\x8b"
MAX_BYTES: Final = 50_000_000
_PIECE_BYTES: Final = 1_000_000


def unpacked(data: bytes) -> bytes:
    """What is in it, members one after the other. Raises IngestError when it is damaged, too large, or packed twice."""
    parts: list[bytes] = []
    size = 0
    rest = data
    while rest.startswith(GZIP):
        member = zlib.decompressobj(wbits=31)
        piece, rest = _feed(member, rest)
        while piece:
            size += len(piece)
            if size > MAX_BYTES:
                raise IngestError(
                    f"The packed file holds more than {MAX_BYTES // 1_000_000} MB. Unpack it and split it.",
                    reason="too_large",
                )
            parts.append(piece)
            piece, rest = _feed(member, rest)
        if not member.eof:
            raise IngestError("The gzip file is damaged or cut short. Pack it again.", reason="damaged")
    found = b"".join(parts)
    if found.startswith(GZIP):
        raise IngestError("The file is packed by gzip twice. Unpack it and send it again.", reason="unsupported")
    return found


def _feed(member: zlib._Decompress, data: bytes) -> tuple[bytes, bytes]:
    """(the next piece, what is left of the input)."""
    if member.eof:
        return b"", member.unused_data
    try:
        piece = member.decompress(data, _PIECE_BYTES)
    except zlib.error:
        raise IngestError("The gzip file is damaged. Pack it again.", reason="damaged") from None
    return piece, member.unused_data if member.eof else member.unconsumed_tail
