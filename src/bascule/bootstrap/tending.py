"""What the one process of a folder that works does for collections, beside its jobs."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from bascule.bootstrap.app import App
from bascule.core.errors import BasculeError

log = logging.getLogger(__name__)

EVERY_S: Final = 5.0
REST_S: Final = (
    120.0  # a question that began before a switch still looks at the vectors it found: longer than any deadline
)
AT_ONCE: Final = 200  # documents
RETAIN_EVERY_S: Final = 3600.0
INDEX_LACKS: Final = "index_incomplete: the index is being filled again from the catalogue"


async def restore_index(app: App) -> None:
    """Fill an index that was lost, or whose filling was cut short, from the catalogue; answers say so until it is whole."""
    if app.indexer is None:
        return
    lacking = await app.indexer.lacking()
    if not lacking:
        return
    log.warning("the index lacks %d documents: they are put into it again from the catalogue", len(lacking))
    app.degraded.append(INDEX_LACKS)
    try:
        await app.indexer.restore(lacking)
    finally:
        app.degraded.remove(INDEX_LACKS)
    log.warning("the index is whole again")


async def tend(app: App) -> None:
    """Runs until it is cancelled."""
    restored = False
    followed = not app.settings.rag.reembed_on_change
    retain_at_s = 0.0
    while True:
        if app.jobs.state == "worker" and app.reembed is not None:
            try:
                if not restored:
                    await restore_index(app)
                    restored = True
                if not followed:
                    await app.reembed.follow_settings()
                    followed = True
                while await app.catalogue.clear_retired(REST_S, AT_ONCE):
                    log.info("vectors that are no longer searched were cleared away")
                if app.retention is not None and time.monotonic() >= retain_at_s:
                    await app.retention.run()
                    retain_at_s = time.monotonic() + RETAIN_EVERY_S
            except BasculeError as error:
                log.warning("tending collections waits: %s", error.message)
        await asyncio.sleep(EVERY_S)
