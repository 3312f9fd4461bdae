"""Vendors for the provider contract: real HTTP on loopback, scripted in one vocabulary whatever the format."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

SECRET = "sk-upstream-secret"


@dataclass
class Seen:
    """`path`: as it came, query included."""

    path: str
    headers: dict[str, str]
    raw: bytes


@dataclass
class Reply:
    """`pieces` are written one by one; `gate` is waited for before the piece numbered `gate_at`. `ending`: a clean end, the
    connection lost, or nothing more while it stays open."""

    pieces: Sequence[bytes] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    ending: Literal["clean", "cut", "open"] = "clean"
    gate: asyncio.Event | None = None
    gate_at: int = 0


class Vendor:
    """Subclass it with the words of one format: `answer`, `tool_answer`, `events`, `tool_events` and `error`.

    Every call is answered with `reply`. `calls` is what came; `aborted` counts callers that left.
    """

    stream_type = "text/event-stream"
    credential_headers: tuple[str, ...] = ("authorization", "api-key", "x-api-key", "x-goog-api-key")

    def __init__(self) -> None:
        self.url = ""
        self.calls: list[Seen] = []
        self.reply = Reply()
        self.aborted = 0

    # ---- the words of a format

    def answer(self, text: str, usage: tuple[int, int]) -> bytes:
        raise AssertionError("a vendor says what its answers look like")

    def tool_answer(self, name: str, arguments: dict[str, Any]) -> bytes:
        raise AssertionError("a vendor says what its tool calls look like")

    def events(self, pieces: Sequence[str], usage: tuple[int, int]) -> list[bytes]:
        """A stream's events, one by one, to its proper end."""
        raise AssertionError("a vendor says what its streams look like")

    def tool_events(self, name: str, arguments: dict[str, Any]) -> list[bytes]:
        raise AssertionError("a vendor says what its streamed tool calls look like")

    def error(self, status: int, message: str) -> bytes:
        return json.dumps({"error": {"message": message, "type": "fault", "code": "fault"}}).encode()

    def credential(self, seen: Seen) -> Any:
        """What the call was authorised with."""
        return {name: seen.headers[name] for name in self.credential_headers if name in seen.headers}

    # ---- the script

    def answers(self, text: str, usage: tuple[int, int] = (11, 7)) -> None:
        self.reply = Reply([self.answer(text, usage)])

    def streams(self, *pieces: str, usage: tuple[int, int] = (11, 7), torn: int = 0) -> None:
        """`torn`: written in pieces of so many bytes, wherever that cuts."""
        found: Sequence[bytes] = self.events(pieces, usage)
        if torn:
            whole = b"".join(found)
            found = [whole[i : i + torn] for i in range(0, len(whole), torn)]
        self.reply = Reply(found, content_type=self.stream_type)

    def waits_before(self, said: str) -> asyncio.Event:
        """The stream scripted waits before the event that says `said`, until the event returned is set."""
        place = next(i for i, piece in enumerate(self.reply.pieces) if said.encode() in piece)
        self.reply.gate, self.reply.gate_at = asyncio.Event(), place
        return self.reply.gate

    def ends_after(self, count: int, ending: Literal["clean", "cut", "open"]) -> None:
        """The stream scripted has only so many of its events."""
        self.reply.pieces, self.reply.ending = self.reply.pieces[:count], ending

    def calls_a_tool(self, name: str, arguments: dict[str, Any], *, stream: bool = False) -> None:
        if stream:
            self.reply = Reply(self.tool_events(name, arguments), content_type=self.stream_type)
        else:
            self.reply = Reply([self.tool_answer(name, arguments)])

    def refuses(self, status: int, message: str = "no", headers: Mapping[str, str] | None = None) -> None:
        self.reply = Reply([self.error(status, message)], status, headers or {})

    def says(self, raw: bytes, content_type: str = "application/json") -> None:
        self.reply = Reply([raw], content_type=content_type)

    def hangs(self) -> None:
        """No answer at all, while the connection stays open."""
        self.reply = Reply(gate=asyncio.Event())

    # ---- the server

    async def handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        self.calls.append(Seen(request.raw_path, {k.lower(): v for k, v in request.headers.items()}, raw))
        reply = self.reply
        try:
            return await _write(request, reply)
        except (asyncio.CancelledError, ConnectionError):
            self.aborted += 1
            raise


async def _write(request: web.Request, reply: Reply) -> web.StreamResponse:
    if reply.gate is not None and reply.gate_at == 0:
        await reply.gate.wait()
    response = web.StreamResponse(status=reply.status, headers={"content-type": reply.content_type, **reply.headers})
    await response.prepare(request)
    for place, piece in enumerate(reply.pieces):
        if place and place == reply.gate_at and reply.gate is not None:
            await reply.gate.wait()
        await response.write(piece)
    if reply.ending == "open":
        await asyncio.Event().wait()
    if reply.ending == "cut" and request.transport is not None:
        # A crashed vendor; returning would end the body properly.
        request.transport.close()
        return response
    await response.write_eof()
    return response


@asynccontextmanager
async def serving(vendor: Vendor) -> AsyncIterator[None]:
    """The vendor on a free loopback port; `vendor.url` is its address without a path."""
    app = web.Application()
    app.router.add_post("/{path:.*}", vendor.handle)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        vendor.url = f"http://{host}:{port}"
        yield
    finally:
        await runner.cleanup()
