"""OpenTelemetry spans over OTLP/HTTP, by the semantic conventions for generative AI. Needs the extra `otel`.

One span for a call and one below it for each try at a provider, made from the finished record: nothing of prompt or answer is
in one. Attribute names: opentelemetry.semconv, gen_ai (https://opentelemetry.io/docs/specs/semconv/gen-ai/).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from bascule.core.calls import Attempt, CallRecord
from bascule.core.errors import ConfigError
from bascule.core.resources import Resources

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider

OPERATIONS: Final = {"chat": "chat", "stream": "chat", "embed": "embeddings"}
QUEUE: Final = 8192


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint: str = Field(description="The collector's address for traces, e.g. http://127.0.0.1:4318/v1/traces.")
    headers: dict[str, str] = Field({}, description='Sent along, e.g. a key. References: "env:NAME" or "file:PATH".')
    service_name: str = Field("bascule", description="The resource's service.name.")
    timeout_s: float = Field(5.0, gt=0, description="Longest wait for the collector.")


class OtelExporter:
    """A caller's W3C trace context becomes the parent and nothing more: it cannot keep its calls out of the operator's traces."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("bascule")

    def export(self, records: Sequence[CallRecord]) -> None:
        for record in records:
            self._export(record)

    def _export(self, record: CallRecord) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        operation = OPERATIONS.get(record.operation, record.operation)
        span = self._tracer.start_span(
            f"{operation} {record.model}",
            context=_parent(record.traceparent),
            kind=SpanKind.SERVER,
            start_time=_ns(record.started_at_s),
            attributes=_attributes(record, operation),
        )
        below = set_span_in_context(span)
        for attempt in record.attempts:
            self._export_attempt(record, attempt, operation, below)
        if record.outcome != "ok":
            span.set_attribute("error.type", record.error or record.outcome)
        if record.outcome in ("error", "cut"):
            span.set_status(Status(StatusCode.ERROR))
        span.end(_ns(record.started_at_s + record.latency_s))

    def _export_attempt(self, record: CallRecord, attempt: Attempt, operation: str, below: Context) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode

        began_s = record.started_at_s + attempt.after_s
        span = self._tracer.start_span(
            f"{operation} {attempt.model}",
            context=below,
            kind=SpanKind.CLIENT,
            start_time=_ns(began_s),
            attributes={
                "gen_ai.operation.name": operation,
                "gen_ai.provider.name": attempt.provider,
                "gen_ai.request.model": attempt.model,
            },
        )
        if attempt.error:
            span.set_attribute("error.type", attempt.error)
            span.set_status(Status(StatusCode.ERROR))
        span.end(_ns(began_s + attempt.latency_s))


def _attributes(record: CallRecord, operation: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": record.provider or "bascule",
        "gen_ai.request.model": record.model,
        "gen_ai.request.stream": record.operation == "stream",
        "gen_ai.usage.input_tokens": record.input_tokens,
        "gen_ai.usage.output_tokens": record.output_tokens,
        "bascule.call.id": record.id,
        "bascule.tenant": record.tenant,
        "bascule.key.id": record.key_id,
        "bascule.cache": record.cache,
        "bascule.outcome": record.outcome,
    }
    if record.provider_model:
        found["gen_ai.response.model"] = record.provider_model
    if record.finish:
        found["gen_ai.response.finish_reasons"] = [record.finish]
    if record.first_byte_s is not None:
        found["gen_ai.response.time_to_first_chunk"] = record.first_byte_s
    if record.cached_tokens:
        found["gen_ai.usage.cache_read.input_tokens"] = record.cached_tokens
    if record.cost_usd is not None:
        found["bascule.cost_usd"] = record.cost_usd
    if record.degraded:
        found["bascule.degraded"] = list(record.degraded)
    if record.policies:
        found["bascule.policies"] = [f"{note.policy}:{note.action}" for note in record.policies]
    return found


def _ns(at_s: float) -> int:
    return int(at_s * 1e9)


def _parent(traceparent: str) -> Context | None:
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    # An empty context, not None: None would take whatever is current on this thread.
    return TraceContextTextMapPropagator().extract({"traceparent": traceparent}, context=Context())


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[OtelExporter]:
    """Raises ConfigError when the extra is not installed."""
    headers = {name: resources.secret(reference) for name, reference in settings.headers.items()}
    provider = await asyncio.to_thread(_provider, settings, headers)
    try:
        yield OtelExporter(provider)
    finally:
        await asyncio.to_thread(provider.shutdown)


def _provider(settings: Settings, headers: dict[str, str]) -> TracerProvider:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON
    except ModuleNotFoundError:
        raise ConfigError("telemetry: spans need the extra otel: pip install 'bascule[otel]'") from None
    exporter = OTLPSpanExporter(endpoint=settings.endpoint, headers=headers, timeout=settings.timeout_s)
    resource = Resource({"service.name": settings.service_name})
    provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=QUEUE, schedule_delay_millis=1000))
    return provider
