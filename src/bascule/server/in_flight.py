"""Request bodies in memory, of all callers together: each is bounded, and so must be their sum."""

from __future__ import annotations

from bascule.core.errors import ServerExhausted


class InFlight:
    """Bytes of bodies that came in pieces, from the first until their request has its answer. What came in one piece is at
    most what a connection may buffer, and does not count."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self.held_bytes = 0

    def take(self, count: int, own: int) -> None:
        """`own`: what this body holds already; alone it always has room. Raises ServerExhausted when there is none beside what
        others hold."""
        if self.held_bytes > own and self.held_bytes + count > self._most_bytes:
            raise no_room()
        self.held_bytes += count

    def give(self, count: int) -> None:
        self.held_bytes -= count


def no_room() -> ServerExhausted:
    return ServerExhausted("This server has no memory left for the request. Try again.", retry_after_s=1)


def no_place() -> ServerExhausted:
    return ServerExhausted("As many requests are under way as this server takes. Try again.", retry_after_s=1)
