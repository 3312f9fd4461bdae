"""Keeping a collection as its source is: what is new or changed is taken in, what has gone is deleted, the rest is left alone.

Deletions are found by comparing ids, and held back whenever the source may not have been seen whole, and when they are too many
to be believed without a person's word.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from fnmatch import fnmatchcase
from typing import Final, Protocol

import msgspec

from bascule.core.catalogue import AuditLog, Documents, SourceItems
from bascule.core.connectors import (
    Change,
    ChangesConnector,
    Connector,
    KnownItem,
    Partial,
    SkippedItem,
    SourceItem,
    UnchangedItem,
)
from bascule.core.errors import BasculeError, NotFound, StorageError
from bascule.core.principals import Principal
from bascule.core.rights import Rights
from bascule.rag.ingest import Ingest

log = logging.getLogger(__name__)

BATCH_ITEMS: Final = 64  # one job each: work begins while the rest of the source is still being read
BATCH_BYTES: Final = 32_000_000
MAX_ID_CHARS: Final = 1000  # what the catalogue takes


class SourceRules(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator says of one source. `patterns`: shell patterns of external ids with their rights; the last that matches
    decides, without one `rights` hold, and without those the collection's. `deny` holds for all."""

    name: str
    collection: str
    rights: Rights | None = None
    patterns: tuple[tuple[str, Rights], ...] = ()
    deny: frozenset[str] = frozenset()
    max_deleted_share: float = 0.2

    @property
    def mark(self) -> str:
        """What the source's documents carry as `source`: no upload's and no other source's."""
        return f"source:{self.name}"

    def rights_of(self, names: Collection[str]) -> Rights | None:
        """Of a document known by several names (its URL, and where that redirects to): only whom all of them let in."""
        found = [self._of(name) for name in dict.fromkeys(names)]
        given = [rights if rights is not None else Rights() for rights in found]
        if all(rights is None for rights in found) and not self.deny:
            return None
        return Rights(
            allow=frozenset.intersection(*(rights.allow for rights in given)),
            deny=self.deny.union(*(rights.deny for rights in given)),
        )

    def _of(self, name: str) -> Rights | None:
        matching = (rights for pattern, rights in reversed(self.patterns) if fnmatchcase(name, pattern))
        return next(matching, self.rights)


class SyncReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one run did. `taken`: handed to `jobs`, where some may turn out to be the same as before. `held_back`: gone from the
    source but not deleted, for `reason`. `stopped`: why the source was not read to its end; "" when it was."""

    source: str
    collection: str
    jobs: tuple[str, ...] = ()
    taken: int = 0
    unchanged: int = 0
    deleted: int = 0
    rights_changed: int = 0
    held_back: int = 0
    reason: str = ""
    stopped: str = ""
    partial: tuple[str, ...] = ()
    skipped: tuple[SkippedItem, ...] = ()


class SyncCatalogue(Documents, SourceItems, AuditLog, Protocol):
    """The parts of the catalogue that a sync needs."""


class Sync:
    def __init__(self, catalogue: SyncCatalogue, ingest: Ingest) -> None:
        self._catalogue = catalogue
        self._ingest = ingest

    async def run(
        self,
        principal: Principal,
        rules: SourceRules,
        connector: Connector,
        *,
        confirm_deletions: bool = False,
        progress: Callable[[int], None] = lambda seen: None,
    ) -> SyncReport:
        """One run to its end. Raises StorageError when our own stores do not answer; a source that does not is in the report.

        `confirm_deletions`: delete what has gone, however many. `progress` hears the number of things seen so far.
        """
        known = await self._catalogue.source_items(principal, rules.collection, rules.mark)
        run = _Run(self._catalogue, self._ingest, principal, rules, known)
        stopped = ""
        async for change in _until_error(connector, known):
            if isinstance(change, StorageError):
                stopped = change.message
            else:
                await run.take(change)
                progress(run.seen)
        await run.flush()
        await run.delete(stopped, isinstance(connector, ChangesConnector), confirm_deletions)
        return run.report(stopped)


async def _until_error(connector: Connector, known: Mapping[str, KnownItem]) -> AsyncIterator[Change | StorageError]:
    """The source's own failure as the last element, so that it is not taken for one of our stores."""
    changes: AsyncIterator[Change] = (
        connector.changes(known) if isinstance(connector, ChangesConnector) else connector.items()
    )
    while True:
        try:
            change = await anext(changes)
        except StopAsyncIteration:
            return
        except BasculeError as error:
            yield StorageError(error.message)
            return
        yield change


class _Run:
    def __init__(
        self,
        catalogue: SyncCatalogue,
        ingest: Ingest,
        principal: Principal,
        rules: SourceRules,
        known: Mapping[str, KnownItem],
    ) -> None:
        self._catalogue = catalogue
        self._ingest = ingest
        self._principal = principal
        self._rules = rules
        self._known = known
        self._here: set[str] = set()
        self._gone: set[str] = set()
        self._batch: list[SourceItem] = []
        self._batch_bytes = 0
        self._jobs: list[str] = []
        self._skipped: list[SkippedItem] = []
        self._partial: list[str] = []
        self._counts = dict.fromkeys(("taken", "unchanged", "deleted", "rights_changed", "held_back"), 0)
        self._reason = ""
        self.seen = 0

    async def take(self, change: Change) -> None:
        if isinstance(change, Partial):
            self._partial.append(change.reason)
            return
        self.seen += 1
        if isinstance(change, SkippedItem):
            self._skipped.append(change)
            (self._gone if change.gone else self._here).add(change.external_id)
            return
        self._here.add(change.external_id)
        if isinstance(change, UnchangedItem):
            await self._keep(change)
        else:
            await self._add(change)

    async def _keep(self, change: UnchangedItem) -> None:
        """The rights may have changed in the operator's file, though the document has not."""
        self._counts["unchanged"] += 1
        known = self._known.get(change.external_id)
        if known is None:
            return
        wanted = self._rules.rights_of(_names(change.external_id, known.metadata))
        if wanted is None:
            return
        if not known.inherits and (wanted.allow, wanted.deny) == (known.rights.allow, known.rights.deny):
            return
        facts = {"allow": sorted(wanted.allow), "deny": sorted(wanted.deny), "source": self._rules.name}
        await self._catalogue.audit(self._principal, "rights.replace", known.document_id, facts)
        try:
            await self._catalogue.set_rights(self._principal, known.document_id, wanted)
            self._counts["rights_changed"] += 1
        except NotFound:
            log.info("source %s: a document was deleted meanwhile", self._rules.name)

    async def _add(self, item: SourceItem) -> None:
        if len(item.external_id) > MAX_ID_CHARS:
            reason = f"Its path or URL is longer than {MAX_ID_CHARS} characters."
            self._skipped.append(SkippedItem(external_id=item.external_id, reason=reason))
            return
        if item.rights is None:
            rights = self._rules.rights_of(_names(item.external_id, item.metadata))
            item = msgspec.structs.replace(item, rights=rights)
        self._batch.append(item)
        self._batch_bytes += len(item.data)
        if len(self._batch) >= BATCH_ITEMS or self._batch_bytes >= BATCH_BYTES:
            await self.flush()

    async def flush(self) -> None:
        if not self._batch:
            return
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        rules = self._rules
        job, skipped = await self._ingest.take(self._principal, rules.collection, batch, None, source=rules.mark)
        self._jobs.append(job.id)
        self._skipped += skipped
        self._counts["taken"] += len(batch) - len(skipped)

    async def delete(self, stopped: str, exact: bool, confirmed: bool) -> None:
        """`exact`: the connector names each thing it skips; otherwise a skipped folder stands for all that is in it."""
        gone = self._gone & self._known.keys()
        if not stopped and not self._partial:
            unseen = self._known.keys() - self._here
            if not exact:
                shut = tuple(item.external_id + "/" for item in self._skipped)
                unseen = {name for name in unseen if not name.startswith(shut)}
            gone |= unseen
        if stopped:
            self._hold(len(gone), "The source did not answer to the end.")
        elif len(gone) > self._rules.max_deleted_share * len(self._known) and not confirmed:
            share = f"{self._rules.max_deleted_share:.0%}"
            self._hold(
                len(gone),
                f"{len(gone)} of {len(self._known)} documents have gone from the source, more than {share}. If that is right, "
                "run it again with --confirm-deletions.",
            )
        else:
            for name in sorted(gone):
                await self._delete(self._known[name].document_id)
        await self._ingest.settle()

    def _hold(self, count: int, reason: str) -> None:
        if count:
            self._counts["held_back"] = count
            self._reason = reason
            log.warning("source %s: %d deletions held back: %s", self._rules.name, count, reason)

    async def _delete(self, document_id: str) -> None:
        await self._catalogue.audit(self._principal, "document.delete", document_id, {"source": self._rules.name})
        try:
            await self._catalogue.delete_document(self._principal, document_id)
            self._counts["deleted"] += 1
        except NotFound:
            log.info("source %s: a document had been deleted already", self._rules.name)

    def report(self, stopped: str) -> SyncReport:
        return SyncReport(
            source=self._rules.name,
            collection=self._rules.collection,
            jobs=tuple(self._jobs),
            reason=self._reason,
            stopped=stopped,
            partial=tuple(self._partial),
            skipped=tuple(self._skipped),
            **self._counts,
        )


def _names(external_id: str, metadata: Mapping[str, object]) -> list[str]:
    url = metadata.get("url")
    return [external_id, url] if isinstance(url, str) else [external_id]
