"""Server-sent events by hand (WHATWG HTML, section 9.2.6): bytes in as they arrive, whole events out."""

from __future__ import annotations

from typing import Final

from bascule.core.errors import UpstreamInvalid

MAX_EVENT_BYTES: Final = 8_000_000


class SseParser:
    """Feed it pieces cut anywhere (inside a character, inside CRLF); it returns the events that are complete.

    Works on bytes, so that no character can be torn. Comments, `id` and `retry` are dropped.
    Raises UpstreamInvalid when an event is larger than MAX_EVENT_BYTES.
    """

    __slots__ = ("_after_cr", "_data", "_event", "_rest", "_size_bytes", "_started")

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._event = b""
        self._size_bytes = 0
        self._started = False
        self._after_cr = False

    def feed(self, piece: bytes) -> list[tuple[str, bytes]]:
        """(event name or "", data) of each event that this piece completes."""
        block = self._rest + piece if self._rest else piece
        if not self._started:
            if len(block) < 3 and b"\xef\xbb\xbf".startswith(block):
                self._rest = block
                return []
            self._started = True
            block = block.removeprefix(b"\xef\xbb\xbf")
        if self._after_cr and block:
            # That CR ended a line by itself: the last line of a stream has nothing after it to wait for.
            self._after_cr = False
            block = block.removeprefix(b"\n")
        if b"\r" in block:
            self._after_cr = block.endswith(b"\r")
            block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, self._rest = block.split(b"\n")
        found: list[tuple[str, bytes]] = []
        for line in lines:
            if line:
                self._field(line)
            elif self._data:
                found.append((self._event.decode("utf-8", "replace"), b"\n".join(self._data)))
                self._data, self._event, self._size_bytes = [], b"", 0
            else:
                self._event = b""
        if self._size_bytes + len(self._rest) > MAX_EVENT_BYTES:
            raise UpstreamInvalid("The model's provider sent an event that is too large.")
        return found

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        if name == b"data":
            self._data.append(value)
            self._size_bytes += len(value)
        elif name == b"event":
            self._event = value
