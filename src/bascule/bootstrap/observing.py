"""Opens policies and telemetry, and keeps the call records in order: texts of deleted documents, records past their time."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

from bascule.bootstrap.background import in_background
from bascule.bootstrap.plugins import connect_plugin
from bascule.core.calls import CallRecord
from bascule.core.policies import Policy
from bascule.core.resources import Resources
from bascule.db.catalogue import SqlCatalogue
from bascule.settings import Settings, StoreSettings

RETENTION_EVERY_S: Final = 3600.0
DAY_S: Final = 86_400.0


async def open_policies(settings: Settings, resources: Resources, stack: AsyncExitStack) -> dict[str, Policy]:
    return {
        name: await connect_plugin(stack, "policies", f"policies.{name}", given, resources)
        for name, given in settings.policies.items()
    }


async def open_telemetry(
    settings: Settings, resources: Resources, stack: AsyncExitStack
) -> Callable[[CallRecord], None] | None:
    """What each record is told to; None where no collector is configured. Nothing of OpenTelemetry is loaded then."""
    wanted = settings.telemetry
    if not wanted.otlp_endpoint:
        return None
    from bascule.gateway.call_telemetry import CallTelemetry

    given: dict[str, Any] = {"endpoint": wanted.otlp_endpoint, "headers": wanted.otlp_headers}
    given["service_name"] = wanted.service_name
    exporter = await connect_plugin(stack, "telemetry", "telemetry", StoreSettings(kind="otel", **given), resources)
    telemetry = CallTelemetry(exporter)
    stack.push_async_callback(telemetry.flush)
    await in_background(stack, telemetry.run())
    return telemetry.sink


def sweep_records(catalogue: SqlCatalogue, retention_days: int | None) -> Callable[[Sequence[str]], Awaitable[None]]:
    """What upkeep calls each round with the documents deleted since the last one. Raises StorageError; then the next round
    does what this one did not."""
    waiting: set[str] = set()
    done_s = {"texts": False, "retention": float("-inf")}

    async def sweep(gone: Sequence[str]) -> None:
        waiting.update(gone)
        if not done_s["texts"]:  # what was deleted while nobody ran
            await catalogue.scrub_dead_texts()
            done_s["texts"] = True
        if waiting:
            await catalogue.scrub_call_texts(sorted(waiting))
            waiting.clear()
        now_s = time.time()
        if retention_days is not None and now_s - done_s["retention"] >= RETENTION_EVERY_S:
            await catalogue.forget_calls(now_s - retention_days * DAY_S)
            done_s["retention"] = now_s

    return sweep
