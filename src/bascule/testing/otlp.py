"""An OpenTelemetry collector on loopback: takes traces over OTLP/HTTP and says what it was given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web


class Collector:
    def __init__(self) -> None:
        self.url = ""
        self.raw: list[bytes] = []
        self.headers: list[dict[str, str]] = []

    async def handle(self, asked: web.Request) -> web.Response:
        self.raw.append(await asked.read())
        self.headers.append({k.lower(): v for k, v in asked.headers.items()})
        return web.Response(body=b"", content_type="application/x-protobuf")

    def spans(self) -> list[Any]:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        found = []
        for raw in self.raw:
            message = ExportTraceServiceRequest.FromString(raw)
            found += [s for r in message.resource_spans for scope in r.scope_spans for s in scope.spans]
        return found


@asynccontextmanager
async def collector() -> AsyncIterator[Collector]:
    made, app = Collector(), web.Application()
    app.router.add_post("/v1/traces", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces"
        yield made
    finally:
        await runner.cleanup()
