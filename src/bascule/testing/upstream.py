"""A vendor of one's own on loopback: speaks OpenAI's chat and embeddings and Anthropic's messages over real HTTP, counts its
calls, and misbehaves on request."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from array import array
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

SIGNATURE = "c2lnbmVk"  # of the fake vendor's thinking


@dataclass(kw_only=True)
class Fault:
    """How one call is answered otherwise than well.

    delay_s    wait before anything is sent
    gate       wait until it is set: before a plain answer, or after a stream's first event
    cut_after  a stream ends without its proper end after that many events; a plain answer is cut in its middle
    raw        this body instead, with `content_type`
    thinking   comes before the text: a signed thinking block (Anthropic), `reasoning_content` (OpenAI)
    """

    status: int = 200
    retry_after: str | None = None
    delay_s: float = 0.0
    gate: asyncio.Event | None = None
    content: str | None = None
    finish: str = "stop"
    cut_after: int | None = None
    raw: bytes | None = None
    content_type: str = "application/json"
    tool_calls: list[dict[str, Any]] | None = None
    usage: bool = True
    crlf: bool = False
    thinking: str = ""


@dataclass
class Seen:
    path: str
    headers: dict[str, str]
    raw: bytes
    body: dict[str, Any]


@dataclass
class FakeUpstream:
    """`faults` are used up one by one, then `always` holds, if set. `calls` is what came; `aborted` counts callers that left."""

    url: str = ""
    calls: list[Seen] = field(default_factory=list)
    faults: deque[Fault] = field(default_factory=deque)
    always: Fault | None = None
    answered: int = 0
    aborted: int = 0
    dimension: int = 8

    async def handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = json.loads(raw)
        self.calls.append(Seen(request.path, {k.lower(): v for k, v in request.headers.items()}, raw, body))
        number = len(self.calls)
        fault = self.faults.popleft() if self.faults else self.always or Fault()
        try:
            response = await self._answer(request, body, fault, number)
        except (asyncio.CancelledError, ConnectionError):
            self.aborted += 1
            raise
        self.answered += 1
        return response

    async def _answer(
        self, request: web.Request, body: dict[str, Any], fault: Fault, number: int
    ) -> web.StreamResponse:
        if fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        headers = {"retry-after": fault.retry_after} if fault.retry_after else {}
        if fault.raw is not None:
            headers["content-type"] = fault.content_type
            return web.Response(status=fault.status, body=fault.raw, headers=headers)
        if fault.status != 200:
            error: dict[str, Any] = {
                "message": f"fault {fault.status}",
                "type": "fault",
                "param": None,
                "code": "fault",
            }
            error = {"error": error}
            if request.path.endswith("/messages"):
                said = {"type": "invalid_request_error", "message": f"fault {fault.status}"}
                error = {"type": "error", "error": said, "request_id": "req_vendor"}
            return web.json_response(error, status=fault.status, headers=headers)
        if body.get("stream"):
            return await self._stream(request, body, fault, number)
        if fault.gate is not None:
            await fault.gate.wait()
        data = json.dumps(self._plain(request.path, body, fault, number)).encode()
        if fault.cut_after is not None:
            return await _cut(request, data)
        return web.Response(body=data, content_type="application/json")

    def _plain(self, path: str, body: dict[str, Any], fault: Fault, number: int) -> dict[str, Any]:
        if path.endswith("/embeddings"):
            return self._embeddings(body)
        text = _content(body, fault, number)
        if path.endswith("/messages"):
            return _message(body, fault, text)
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if fault.tool_calls:
            message = {"role": "assistant", "content": None, "tool_calls": fault.tool_calls}
        if fault.thinking:
            message["reasoning_content"] = fault.thinking
        choice = {"index": 0, "message": message, "finish_reason": fault.finish}
        answer: dict[str, Any] = {"id": f"chatcmpl-{number}", "object": "chat.completion", "created": 1}
        answer |= {"model": body["model"], "choices": [choice], "vendor_extra": {"kept": True}}
        if fault.usage:
            answer["usage"] = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
        return answer

    def _embeddings(self, body: dict[str, Any]) -> dict[str, Any]:
        data = []
        for index, text in enumerate(body["input"]):
            vector = embedding(text, self.dimension)
            encoded = base64.b64encode(vector.tobytes()).decode()
            shown = encoded if body.get("encoding_format") == "base64" else list(vector)
            data.append({"object": "embedding", "index": index, "embedding": shown})
        return {
            "object": "list",
            "data": data,
            "model": body["model"],
            "usage": {"prompt_tokens": 3, "total_tokens": 3},
        }

    async def _stream(
        self, request: web.Request, body: dict[str, Any], fault: Fault, number: int
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        anthropic = request.path.endswith("/messages")
        events = _anthropic_events(body, fault, number) if anthropic else _openai_events(body, fault, number)
        for place, event in enumerate(events):
            if place == 1 and fault.gate is not None:
                await fault.gate.wait()
            if place == fault.cut_after:
                # Closing the transport is what a crashed vendor looks like; returning would end the body properly.
                if request.transport is not None:
                    request.transport.close()
                return response
            await response.write(event.replace(b"\n", b"\r\n") if fault.crlf else event)
        await response.write_eof()
        return response


async def _cut(request: web.Request, data: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "application/json", "content-length": str(len(data))})
    await response.prepare(request)
    await response.write(data[: len(data) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


def embedding(text: str, dimension: int) -> array[float]:
    """The fake vendor's vector of a text: from its hash, not of unit length."""
    digest = hashlib.blake2b(text.encode(), digest_size=dimension).digest()
    return array("f", [byte / 16 + 0.1 for byte in digest])


def _content(body: dict[str, Any], fault: Fault, number: int) -> str:
    if fault.content is not None:
        return fault.content
    last = body["messages"][-1].get("content")
    return f"answer {number} to {last if isinstance(last, str) else json.dumps(last)}"


def _pieces(text: str) -> list[str]:
    return [text[i : i + 5] for i in range(0, len(text), 5)]


def _openai_events(body: dict[str, Any], fault: Fault, number: int) -> list[bytes]:
    frame = {"id": f"chatcmpl-{number}", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}

    def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return b"data: " + json.dumps(frame | {"choices": [choice]}, ensure_ascii=False).encode() + b"\n\n"

    deltas: list[dict[str, Any]] = [{"content": piece} for piece in _pieces(_content(body, fault, number))]
    if fault.tool_calls:
        deltas = [{"tool_calls": [call | {"index": i}]} for i, call in enumerate(fault.tool_calls)]
    deltas = [{"reasoning_content": piece} for piece in _pieces(fault.thinking)] + deltas
    events = [event({"role": "assistant"}), *(event(delta) for delta in deltas), event({}, fault.finish)]
    if fault.usage and (body.get("stream_options") or {}).get("include_usage"):
        usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
        events.append(b"data: " + json.dumps(frame | {"choices": [], "usage": usage}).encode() + b"\n\n")
    return [*events, b"data: [DONE]\n\n"]


def _message(body: dict[str, Any], fault: Fault, text: str) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = [{"type": "text", "text": text}]
    if fault.tool_calls:
        blocks = [{"type": "tool_use", **call} for call in fault.tool_calls]
    if fault.thinking:
        blocks.insert(0, {"type": "thinking", "thinking": fault.thinking, "signature": SIGNATURE})
    finish = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}.get(fault.finish, fault.finish)
    usage = {"input_tokens": 11, "output_tokens": 7, "cache_read_input_tokens": 2}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"]}
    return head | {"content": blocks, "stop_reason": finish, "stop_sequence": None, "usage": usage}


def _block_events(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """How a content block starts, and its deltas."""
    if block["type"] == "text":
        return {"type": "text", "text": ""}, [{"type": "text_delta", "text": t} for t in _pieces(block["text"])]
    if block["type"] == "thinking":
        deltas = [{"type": "thinking_delta", "thinking": t} for t in _pieces(block["thinking"])]
        signed = {"type": "signature_delta", "signature": block["signature"]}
        return {"type": "thinking", "thinking": "", "signature": ""}, [*deltas, signed]
    pieces = _pieces(json.dumps(block["input"]))
    return block | {"input": {}}, [{"type": "input_json_delta", "partial_json": t} for t in pieces]


def _anthropic_events(body: dict[str, Any], fault: Fault, number: int) -> list[bytes]:
    def event(name: str, data: dict[str, Any]) -> bytes:
        return f"event: {name}\ndata: {json.dumps({'type': name} | data)}\n\n".encode()

    whole = _message(body, fault, _content(body, fault, number))
    events = [event("message_start", {"message": whole | {"content": [], "stop_reason": None}}), event("ping", {})]
    for index, block in enumerate(whole["content"]):
        start, deltas = _block_events(block)
        events.append(event("content_block_start", {"index": index, "content_block": start}))
        events += [event("content_block_delta", {"index": index, "delta": delta}) for delta in deltas]
        events.append(event("content_block_stop", {"index": index}))
    stop = {"delta": {"stop_reason": whole["stop_reason"], "stop_sequence": None}, "usage": {"output_tokens": 7}}
    return [*events, event("message_delta", stop), event("message_stop", {})]


@asynccontextmanager
async def fake_upstream() -> AsyncIterator[FakeUpstream]:
    """Runs on a free loopback port; `url` ends in /v1."""
    upstream = FakeUpstream()
    app = web.Application(client_max_size=20_000_000)
    app.router.add_post("/v1/{path:.*}", upstream.handle)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        upstream.url = f"http://{host}:{port}/v1"
        yield upstream
    finally:
        await runner.cleanup()
