"""`migrate`: one installation's settings to another's. Opens both, moves what `ops.migrate` moves, and fills the target's index."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from bascule.bootstrap import App, catalogue_urls, open_app
from bascule.bootstrap.deletions import ledger_of
from bascule.bootstrap.sealing import open_seal
from bascule.core.errors import ConfigError
from bascule.core.principals import system_principal
from bascule.db.blobs import FolderBlobs
from bascule.db.catalogue import connect
from bascule.db.copying import Selection
from bascule.db.folder import prepare_folder
from bascule.ops.deletions import audit_deletions
from bascule.ops.migrate import Check, Move, Place, Progress, alone, copy_blobs, copy_secrets
from bascule.settings import Settings


async def move(
    source: Settings, target: Settings, tenant: str, names: Sequence[str], progress: Progress
) -> list[Check]:
    """All of it, or with `names` these collections of `tenant` and what every collection needs. What was compared, in order.

    Raises ConfigError, NotFound for a collection, StorageError; then it can be called again and goes on.
    """
    here, there = _place(source), _place(target)
    same_catalogue = here.url == there.url
    if same_catalogue and here.data != there.data:
        raise ConfigError(
            "Source and target share a catalogue but no data folder: that is one installation. Copy the folder."
        )
    if same_catalogue and (names or source.rag.vector_store == target.rag.vector_store):
        raise ConfigError(
            "Source and target are the same. Name another database, data folder or vector store in the target."
        )
    with alone(here.data):
        async with open_app(source, work=False) as app:
            if app.indexer is not None:
                await app.indexer.drain()
            named = await app.catalogue.readable_collections(system_principal(tenant), names) if names else []
            chosen = Selection(tuple(sorted(collection.id for collection in named)))
            head = (await app.catalogue.audit_chain()).head
        if same_catalogue:
            return await _fill(target, progress)
        if here.data != there.data:
            await asyncio.to_thread(copy_secrets, here.data, there.data, open_seal(source), open_seal(target))
        prepare_folder(there.data, open_seal(target))
        with alone(*({there.data} - {here.data})):
            return [*await _move(here, there, chosen, head, progress), *await _fill(target, progress)]


async def _move(here: Place, there: Place, chosen: Selection, head: str, progress: Progress) -> list[Check]:
    async with connect(there.url, there.calls_url) as catalogue:  # makes its tables
        checks = await Move(here, there, chosen, progress).run()
        chain = await catalogue.audit_chain(head)
        whole = chain.whole and chain.head == head
        checks.append(Check("audit log, as a chain", 1, int(whole), "" if whole else "its head is another"))
        needed = sorted(await catalogue.live_blobs())
    if here.data != there.data:
        checks.append(await asyncio.to_thread(copy_blobs, here.data, there.data, needed, progress))
    return checks


async def _fill(target: Settings, progress: Progress) -> list[Check]:
    """The target's index from its catalogue, and what must be left of deleted documents: nothing."""
    async with open_app(target, work=False) as app:
        if app.indexer is None or app.store is None:
            return []
        await app.indexer.rebuild(lambda done, total: progress("index", done, total))
        await app.indexer.drain()
        audit = await audit_deletions(
            app.catalogue, app.state, app.store, FolderBlobs(target.data.resolve() / "blobs"), app.deleted_again
        )
        left = [place.place for place in audit.places if place.found]
        note = f"something is left in: {', '.join(left)}" if left else ""
        return [await _index(app), Check("deletions that stay deleted", audit.deletions, audit.deletions, note)]


async def _index(app: App) -> Check:
    assert app.store is not None
    wanted: set[str] = set()
    found: set[str] = set()
    for tenant in sorted({tenant for tenant, _ in await app.catalogue.live_documents()}):
        wanted |= await app.catalogue.live_point_ids(tenant)
        found |= await app.store.chunk_ids(tenant)
    return Check(
        "passages in the index", len(wanted), len(wanted & found), "" if wanted == found else "the index differs"
    )


def _place(settings: Settings) -> Place:
    url, calls_url = catalogue_urls(settings)
    data: Path = settings.data.resolve()
    return Place(data=data, url=url, calls_url=calls_url, ledger=ledger_of(settings).path)
