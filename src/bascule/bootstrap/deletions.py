"""Deletions and backups: what was deleted stays deleted, also where an older state of the database is put back."""

from __future__ import annotations

import asyncio
import logging

from bascule.bootstrap.app import App
from bascule.core.errors import NotFound
from bascule.core.principals import system_principal
from bascule.db.catalogue import SqlCatalogue
from bascule.db.ledger import NAME, DeletionLedger
from bascule.settings import Settings

log = logging.getLogger(__name__)


def ledger_of(settings: Settings) -> DeletionLedger:
    return DeletionLedger((settings.catalogue.deletion_ledger or settings.data / NAME).resolve())


async def reconcile(app: App) -> int:
    """Delete again what is in the ledger and alive, and tell the ledger what only the database knows. How many documents were
    deleted again. Before anything is answered. Raises StorageError."""
    catalogue = app.catalogue
    ledger = catalogue.ledger
    if ledger is None:
        return 0
    told = await asyncio.to_thread(ledger.entries)
    alive = await catalogue.alive_among(sorted(told))
    for document_id in alive:
        await _delete_again(catalogue, told[document_id].tenant, document_id)
        await app.state.purge(document_id)
    missing = [entry for entry in await catalogue.deletions() if entry.document_id not in told]
    await asyncio.to_thread(ledger.append, missing)
    if alive:
        log.warning("%d documents were deleted before and back again: they are deleted again", len(alive))
    return len(alive)


async def _delete_again(catalogue: SqlCatalogue, tenant: str, document_id: str) -> None:
    operator = system_principal(tenant)
    await catalogue.audit(operator, "document.delete_again", document_id, {})
    try:
        await catalogue.delete_document(operator, document_id)
    except NotFound:
        log.info("a document of the ledger was deleted meanwhile")
