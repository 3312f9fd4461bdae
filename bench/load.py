"""What the server-level benches share: a fast local upstream, a cheap load generator and a process's CPU time.

`python bench/load.py upstream PORT` runs the upstream: a bare asyncio HTTP/1.1 server that answers every POST at once.
"""

from __future__ import annotations

import asyncio
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import psutil
import uvloop

ANSWER = json.dumps(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1,
        "model": "bench",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "word " * 40}, "finish_reason": "stop"},
        ],
        "usage": {"prompt_tokens": 20, "completion_tokens": 40, "total_tokens": 60},
    }
).encode()
STREAM_CHUNKS = 20
STREAM_GAP_S = 0.02


def _event(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return (
        b"data: " + json.dumps({"id": "c", "object": "chat.completion.chunk", "choices": [choice]}).encode() + b"\n\n"
    )


class Upstream(asyncio.Protocol):
    """Reads requests by Content-Length; a body that asks for a stream gets one, an event every STREAM_GAP_S."""

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            size = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + size:
                return
            body, self._buffer = self._buffer[end + 4 : end + 4 + size], self._buffer[end + 4 + size :]
            if b'"stream":true' in body or b'"stream": true' in body:
                self._streaming = asyncio.ensure_future(self._stream())
            else:
                head_out = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
                self._transport.write(head_out % len(ANSWER) + ANSWER)

    async def _stream(self) -> None:
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        for i in range(STREAM_CHUNKS):
            self._chunk(_event({"content": f"w{i} "}))
            await asyncio.sleep(STREAM_GAP_S)
        self._chunk(_event({}, "stop"))
        self._chunk(b"data: [DONE]\n\n")
        self._transport.write(b"0\r\n\r\n")

    def _chunk(self, data: bytes) -> None:
        self._transport.write(b"%x\r\n%s\r\n" % (len(data), data))


@dataclass
class Result:
    """Latencies in seconds; `first_s` until the first byte of a body."""

    calls: int = 0
    errors: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    latency_s: list[float] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)

    def row(self, name: str) -> dict[str, object]:
        def ms(values: list[float], at: float) -> float | None:
            return (
                round(statistics.quantiles(values, n=1000)[int(at * 1000) - 1] * 1000, 3) if len(values) > 2 else None
            )

        return {
            "name": name,
            "calls": self.calls,
            "errors": self.errors,
            "cpu_us_per_call": round(self.cpu_s / self.calls * 1e6, 1) if self.calls else None,
            "calls_per_s": round(self.calls / self.wall_s) if self.wall_s else None,
            "latency_p50_ms": ms(self.latency_s, 0.5),
            "latency_p99_ms": ms(self.latency_s, 0.99),
            "first_byte_p50_ms": ms(self.first_s, 0.5),
            "first_byte_p99_ms": ms(self.first_s, 0.99),
        }


def request_bytes(port: int, path: str, body: bytes, key: str = "") -> bytes:
    auth = f"authorization: Bearer {key}\r\n" if key else ""
    lines = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n{auth}"
    head = f"{lines}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes
) -> tuple[bool, float, bytes]:
    """One request on a kept connection: (status is 200, time of the first body byte, body)."""
    writer.write(data)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    at = head.find(b"content-length:")
    if at >= 0:
        body = await reader.readexactly(int(head[at + 15 :].split(b"\r\n", 1)[0]))
        return head.startswith(b"http/1.1 200"), time.perf_counter(), body
    first, parts = 0.0, []
    while size := int((await reader.readline()).strip() or b"0", 16):
        parts.append(await reader.readexactly(size + 2))
        first = first or time.perf_counter()
    await reader.readline()
    return head.startswith(b"http/1.1 200"), first, b"".join(parts)


async def drive(
    port: int, make: Callable[[int], bytes], *, connections: int, calls: int, limit_s: float, pids: list[int]
) -> Result:
    """Send `calls` requests over kept connections, at most `limit_s` long; `make(i)` is the i-th request's bytes.

    CPU is that of `pids` alone (user and system), the load generator's not among it.
    """
    result, sent = Result(), 0
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(connections)]
    stop_at = time.perf_counter() + limit_s

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while sent < calls and time.perf_counter() < stop_at:
            sent += 1
            data = make(sent)
            began = time.perf_counter()
            good, first, _ = await _exchange(reader, writer, data)
            result.latency_s.append(time.perf_counter() - began)
            result.first_s.append(first - began)
            result.calls += 1
            result.errors += not good

    before, began = cpu_s(pids), time.perf_counter()
    await asyncio.gather(*(one(*pair) for pair in opened))
    result.wall_s, result.cpu_s = time.perf_counter() - began, cpu_s(pids) - before
    for _, writer in opened:
        writer.close()
    return result


def cpu_s(pids: list[int]) -> float:
    """CPU seconds of these processes, threads included. A process's own schedstat is finer than its clock ticks."""
    total = 0.0
    for pid in pids:
        tasks = list(Path(f"/proc/{pid}/task").glob("*/schedstat"))
        if tasks:
            total += sum(int(task.read_text().split()[0]) for task in tasks) / 1e9
        else:
            times = psutil.Process(pid).cpu_times()
            total += times.user + times.system
    return total


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for(port: int, limit_s: float = 30.0) -> float:
    """Seconds until something listens."""
    began = time.perf_counter()
    while time.perf_counter() - began < limit_s:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return time.perf_counter() - began
        time.sleep(0.005)
    raise SystemExit(f"nothing listens on port {port}")


def start_upstream() -> tuple[subprocess.Popen[bytes], int]:
    port = free_port()
    process = subprocess.Popen([sys.executable, __file__, "upstream", str(port)])
    wait_for(port)
    return process, port


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def show(rows: list[dict[str, object]], json_file: str | None) -> None:
    """Print a table; one JSON object per row into the file."""
    names = [k for k in dict.fromkeys(k for row in rows for k in row) if any(row.get(k) is not None for row in rows)]
    table = [names] + [[str(row.get(n, "") if row.get(n) is not None else "") for n in names] for row in rows]
    widths = [max(len(line[i]) for line in table) for i in range(len(names))]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    if json_file:
        Path(json_file).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


async def _serve_upstream(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__" and sys.argv[1:2] == ["upstream"]:
    uvloop.run(_serve_upstream(int(sys.argv[2])))
