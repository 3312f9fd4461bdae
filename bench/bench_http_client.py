"""CPU of a bare pass-through proxy with each upstream HTTP client, and whether it holds a stream back.

The proxy is one ASGI function on uvicorn (uvloop, httptools) in a process of its own; only that process's CPU is counted.
    python bench/bench_http_client.py [--json FILE] [--calls 6000] [--connections 64]
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import importlib.util
import subprocess
import sys
from typing import Any

import load

BODY = b'{"model":"bench","messages":[{"role":"user","content":"%d: what is a bascule bridge?"}]}'
STREAM_BODY = b'{"model":"bench","stream":true,"messages":[{"role":"user","content":"%d"}]}'
HEADERS = {"content-type": "application/json", "authorization": "Bearer none"}


def proxy_app(kind: str, upstream: str) -> Any:
    """The whole body of a plain answer, or each piece of a stream as it comes."""
    plugin = importlib.import_module(f"bascule.plugins.http_clients.{kind}")
    client: Any = None

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal client
        if scope["type"] == "lifespan":
            await receive()
            async with plugin.connect(plugin.Settings(pool_size=256)) as client:
                await send({"type": "lifespan.startup.complete"})
                await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        body = (await receive())["body"]
        reply = await client.post(upstream, HEADERS, body, 15.0)
        if b'"stream":true' in body:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            async for piece in reply.chunks():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        else:
            answer = await reply.read(1_000_000)
            length = [(b"content-length", b"%d" % len(answer))]
            await send({"type": "http.response.start", "status": reply.status, "headers": length})
            await send({"type": "http.response.body", "body": answer})
        await reply.aclose()

    return app


def serve(kind: str, port: int, upstream: str) -> None:
    import uvicorn

    uvicorn.run(
        proxy_app(kind, upstream),
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )


def measure(kind: str, upstream_port: int, calls: int, connections: int) -> list[dict[str, object]]:
    port = load.free_port()
    url = f"http://127.0.0.1:{upstream_port}/v1/chat/completions"
    process = subprocess.Popen([sys.executable, __file__, "--serve", kind, str(port), url])
    try:
        load.wait_for(port)
        return asyncio.run(_measure(kind, port, process.pid, calls, connections))
    finally:
        load.end(process)


async def _measure(kind: str, port: int, pid: int, calls: int, connections: int) -> list[dict[str, object]]:
    shared: dict[str, Any] = {"connections": connections, "limit_s": 10.0, "pids": [pid]}
    await load.drive(port, _make(port, BODY), calls=500, **shared)
    plain = await load.drive(port, _make(port, BODY), calls=calls, **shared)
    stream = await load.drive(port, _make(port, STREAM_BODY), calls=connections * 4, **shared)
    return [plain.row(f"{kind}: plain"), stream.row(f"{kind}: stream of {load.STREAM_CHUNKS}")]


def _make(port: int, body: bytes) -> Any:
    return lambda i: load.request_bytes(port, "/v1/chat/completions", body % i)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json")
    parser.add_argument("--calls", type=int, default=6000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--serve", nargs=3)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve[0], int(given.serve[1]), given.serve[2])
        return
    upstream, upstream_port = load.start_upstream()
    try:
        rows = []
        direct = asyncio.run(_floor(upstream_port, given.connections))
        rows.append(direct)
        for kind in ("httptools", "aiohttp", "pyreqwest"):
            if importlib.util.find_spec(kind) is None:
                print(f"{kind} is not installed: skipped")
                continue
            rows += measure(kind, upstream_port, given.calls, given.connections)
    finally:
        load.end(upstream)
    load.show(rows, given.json)


async def _floor(upstream_port: int, connections: int) -> dict[str, object]:
    """The upstream itself, streaming, without a proxy: the first byte's floor."""
    stream = await load.drive(
        upstream_port,
        _make(upstream_port, STREAM_BODY),
        connections=connections,
        calls=connections * 4,
        limit_s=10.0,
        pids=[],
    )
    return stream.row("no proxy: stream")


if __name__ == "__main__":
    main()
