"""What the gateway counts for Prometheus. Label values are bounded: names from the configuration, codes from the error tree."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from bascule.core.calls import CallRecord

UNKNOWN: Final = "unknown"

CALLS: Final = Counter("bascule_calls_total", "Model calls ended.", ["model", "operation", "outcome", "cache", "error"])
SECONDS: Final = Histogram(
    "bascule_call_seconds",
    "How long model calls took.",
    ["model", "operation"],
    buckets=(0.005, 0.02, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60, 120),
)
TOKENS: Final = Counter("bascule_tokens_total", "Tokens used at providers.", ["model", "kind"])
COST: Final = Counter("bascule_cost_usd_total", "Money spent at providers.", ["model"])
ATTEMPTS: Final = Counter("bascule_upstream_attempts_total", "Tries at providers.", ["provider", "error"])
SHARED: Final = Counter("bascule_shared_calls_total", "Calls answered by an identical one already under way.")
SIMILAR: Final = Counter(
    "bascule_similar_questions_total",
    "Questions in nearly the words of one answered before, by what became of them: hit, refused (by the verifier), far (by the"
    " embedding model), late or failed (embedding), old, gone (no longer kept).",
    ["model", "outcome"],
)
POLICIES: Final = Counter(
    "bascule_policy_findings_total", "What policies found.", ["policy", "direction", "action", "kind"]
)
RECORDS_WAITING: Final = Gauge("bascule_records_waiting", "Call records that wait to be written.")
SPANS_DROPPED: Final = Counter(
    "bascule_spans_dropped_total", "Calls of which no span was made: the exporter is too slow."
)
BREAKER_OPEN: Final = Gauge("bascule_breaker_open", "1 while a deployment's breaker is open.", ["provider", "model"])


class CallMetrics:
    """Counts ended calls. Keeps the label children it has used: finding one anew costs more than counting."""

    __slots__ = ("_calls", "_models", "_seconds", "_tokens")

    def __init__(self, models: frozenset[str]) -> None:
        self._models = models
        self._calls: dict[tuple[str, str, str, str, str], Counter] = {}
        self._seconds: dict[tuple[str, str], Histogram] = {}
        self._tokens: dict[str, tuple[Counter, Counter, Counter]] = {}

    def count(self, record: CallRecord) -> None:
        model = record.model if record.model in self._models else UNKNOWN
        labels = (model, record.operation, record.outcome, record.cache, record.error)
        calls = self._calls.get(labels)
        if calls is None:
            calls = self._calls[labels] = CALLS.labels(*labels)
        calls.inc()
        timed = (model, record.operation)
        seconds = self._seconds.get(timed)
        if seconds is None:
            seconds = self._seconds[timed] = SECONDS.labels(*timed)
        seconds.observe(record.latency_s)
        if record.input_tokens or record.output_tokens:
            self._count_usage(model, record)
        for note in record.policies:
            for kind, count in note.counts.items():
                POLICIES.labels(note.policy, note.direction, note.action, kind).inc(count)
        for attempt in record.attempts:
            if attempt.error:
                ATTEMPTS.labels(attempt.provider, attempt.error).inc()

    def _count_usage(self, model: str, record: CallRecord) -> None:
        tokens = self._tokens.get(model)
        if tokens is None:
            children = TOKENS.labels(model, "input"), TOKENS.labels(model, "output"), COST.labels(model)
            tokens = self._tokens[model] = children
        tokens[0].inc(record.input_tokens)
        tokens[1].inc(record.output_tokens)
        if record.cost_usd:
            tokens[2].inc(record.cost_usd)
