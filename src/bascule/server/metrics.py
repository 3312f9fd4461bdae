"""Prometheus figures of the HTTP edge. Labels are route patterns and statuses: never a path, a name or a text."""

from __future__ import annotations

from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60)


class HttpMetrics:
    """One registry for each server, so that two in one process do not add up."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "bascule_http_requests", "Requests answered.", ["route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "bascule_http_request_seconds",
            "Time from the request's first byte to the answer's last.",
            ["route"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.running = Gauge("bascule_http_running", "Requests being served now.", registry=self.registry)
        self.degraded = Gauge(
            "bascule_degraded", "1 for each thing that was missing at start.", ["what"], registry=self.registry
        )
        self.oldest_unpurged = Gauge(
            "bascule_oldest_unpurged_deletion_seconds",
            "Age of the oldest deletion that the index has not followed; 0 when there is none.",
            registry=self.registry,
        )
        # `labels()` hashes and locks each time; the pairs are few.
        self._children: dict[tuple[str, int], tuple[Any, Any]] = {}

    def observe(self, route: str, status: int, took_s: float) -> None:
        children = self._children.get((route, status))
        if children is None:
            children = (self._requests.labels(route, str(status)), self._seconds.labels(route))
            self._children[(route, status)] = children
        children[0].inc()
        children[1].observe(took_s)

    def text(self) -> bytes:
        """The exposition of this server and of the process."""
        return generate_latest(self.registry) + generate_latest(REGISTRY)
