"""Spans over OTLP/HTTP, as a real collector on loopback receives them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from bascule.core.calls import CallRecord
from bascule.core.errors import UpstreamUnavailable
from bascule.gateway.call_telemetry import MOST_WAITING, CallTelemetry
from bascule.gateway.metrics import SPANS_DROPPED
from bascule.gateway.routes import Options
from bascule.plugins.telemetry import otel
from bascule.testing.gateway import ScriptedModel, bench, call, collect, http_client, request, resources
from bascule.testing.otlp import Collector, collector

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


async def exported(made: Collector, records: list[CallRecord]) -> list[Any]:
    async with http_client() as http:
        settings = otel.Settings(endpoint=made.url, headers={"x-token": "env:TOKEN"})
        async with otel.connect(settings, resources(http)) as exporter:
            telemetry = CallTelemetry(exporter)
            for record in records:
                telemetry.sink(record)
            await telemetry.flush()
    return made.spans()


def attributes(span: Any) -> dict[str, Any]:
    found = {}
    for pair in span.attributes:
        kind = pair.value.WhichOneof("value")
        value = getattr(pair.value, kind)
        found[pair.key] = [v.string_value for v in value.values] if kind == "array_value" else value
    return found


async def test_a_call_is_a_span_by_the_conventions_with_one_below_it_for_each_try() -> None:
    b = bench(ScriptedModel(UpstreamUnavailable("x")), options=Options(max_attempts=2))
    await b.gateway.chat(request("CANARY-PROMPT"), call())
    async with collector() as made:
        spans = {s.name: s for s in await exported(made, b.records)}
        assert made.headers[0]["x-token"] == "sk-upstream-secret"
        assert b"CANARY" not in b"".join(made.raw)
    whole = attributes(spans["chat fast"])
    expected = {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "p0", "gen_ai.request.model": "fast",
        "gen_ai.response.model": "m0", "gen_ai.usage.input_tokens": 11, "gen_ai.usage.output_tokens": 7,
        "gen_ai.response.finish_reasons": ["stop"], "bascule.cache": "MISS", "bascule.tenant": "t",
    }  # fmt: skip
    assert expected.items() <= whole.items() and "error.type" not in whole
    record = b.records[0]
    assert spans["chat fast"].end_time_unix_nano - spans["chat fast"].start_time_unix_nano == pytest.approx(
        record.latency_s * 1e9, abs=2e3
    )
    async with collector() as made:
        tries = [s for s in await exported(made, b.records) if s.name == "chat m0"]
        (parent,) = {s.span_id for s in made.spans() if s.name == "chat fast"}
    assert [attributes(t).get("error.type") for t in tries] == ["upstream_unavailable", None]
    assert {t.parent_span_id for t in tries} == {parent}
    assert tries[0].start_time_unix_nano <= tries[1].start_time_unix_nano


async def test_failures_streams_and_hits_say_so() -> None:
    b = bench(ScriptedModel(None, *[UpstreamUnavailable("x")] * 9))
    for _ in range(2):
        await collect(await b.gateway.stream(request(stream=True), call()))
    with pytest.raises(UpstreamUnavailable):
        await b.gateway.chat(request("other"), call())
    async with collector() as made:
        found = [attributes(s) for s in await exported(made, b.records) if s.name == "chat fast"]
    assert [f["bascule.cache"] for f in found] == ["MISS", "HIT", "MISS"]
    assert [f.get("error.type") for f in found] == [None, None, "upstream_unavailable"]
    assert all(f["gen_ai.response.time_to_first_chunk"] > 0 for f in found[:2])


@pytest.mark.parametrize("given", [PARENT, "garbage", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", PARENT + "-x" * 5000])
async def test_a_callers_trace_context_is_the_parent_and_cannot_keep_its_call_out(given: str) -> None:
    b = bench(ScriptedModel())
    asked = call()
    asked.traceparent = given
    await b.gateway.chat(request(), asked)
    async with collector() as made:
        (span,) = [s for s in await exported(made, b.records) if s.name == "chat fast"]
    joined = span.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert joined == given.startswith(PARENT)
    assert span.parent_span_id.hex() == ("b7ad6b7169203331" if joined else "")
    assert len(b.records[0].traceparent) <= 55


async def test_a_collector_that_is_away_delays_nobody_and_ends_with_the_server() -> None:
    b = bench(ScriptedModel())
    await b.gateway.chat(request(), call())
    async with collector() as made:
        url = made.url
    began_s = time.monotonic()
    async with http_client() as http:
        settings = otel.Settings(endpoint=url, timeout_s=0.5)
        async with otel.connect(settings, resources(http)) as exporter:
            await asyncio.to_thread(exporter.export, b.records)
    assert time.monotonic() - began_s < 8


async def test_too_many_waiting_calls_are_dropped_and_counted() -> None:
    class Never:
        def export(self, records: object) -> None:
            raise AssertionError

    b = bench(ScriptedModel())
    await b.gateway.chat(request(), call())
    telemetry, before = CallTelemetry(Never()), SPANS_DROPPED._value.get()
    for _ in range(MOST_WAITING + 3):
        telemetry.sink(b.records[0])
    assert SPANS_DROPPED._value.get() == before + 3


def test_nothing_of_opentelemetry_is_loaded_unless_it_is_wanted() -> None:
    import subprocess
    import sys

    code = (
        "import bascule.bootstrap, bascule.gateway.gateway, sys; assert not [m for m in sys.modules if 'opentel' in m]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
