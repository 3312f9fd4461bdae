"""Deleting what a collection keeps no longer, and holding back where that looks like a mistake.

A wrong number in the configuration or a clock that jumped would delete a collection whole: what is too much to be believed waits
for a person's word, as it does when a source has lost its documents.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from bascule.core.errors import ScopeMissing
from bascule.core.principals import Principal, system_principal
from bascule.core.retention import Expired, Expiry

log = logging.getLogger(__name__)

ALWAYS_BELIEVED: Final = 10  # documents: a small collection loses a large share at once


class Keeping(msgspec.Struct, frozen=True):
    """Days since the last change of a document's content, and the share of a collection that may go at once."""

    days: float
    max_deleted_share: float


class RetentionReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one run did in one tenant's collection. `held_back`: to be deleted, but not without a word, for `reason`."""

    tenant: str
    collection: str
    deleted: int = 0
    held_back: int = 0
    reason: str = ""


def _now() -> datetime:
    return datetime.now(UTC)


class Retention:
    def __init__(
        self,
        *,
        catalogue: Expiry,
        settle: Callable[[], Awaitable[None]],
        rules: Mapping[str, Keeping],
        now: Callable[[], datetime] = _now,
    ) -> None:
        """`rules` by the collections' names; `settle` lets the index follow."""
        self._catalogue = catalogue
        self._settle = settle
        self._rules = rules
        self._now = now

    async def run(self) -> list[RetentionReport]:
        """All collections that have a rule, of every tenant."""
        return [report for name in self._rules for report in await self._keep(None, name, confirmed=False)]

    async def run_one(self, principal: Principal, collection: str, *, confirm_deletions: bool) -> list[RetentionReport]:
        """One collection of the principal's tenant. Raises ScopeMissing without admin."""
        if not principal.is_admin:
            raise ScopeMissing("This key does not have the scope 'admin'.")
        return await self._keep(principal, collection, confirmed=confirm_deletions) if collection in self._rules else []

    async def _keep(self, principal: Principal | None, name: str, *, confirmed: bool) -> list[RetentionReport]:
        rule = self._rules[name]
        before = (self._now() - timedelta(days=rule.days)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        reports = []
        for found in await self._catalogue.expired(principal, name, before):
            reports.append(
                _held(found, rule) if _too_much(found, rule) and not confirmed else await self._go(found, before)
            )
        if any(report.deleted for report in reports):
            await self._settle()
        return reports

    async def _go(self, found: Expired, before: str) -> RetentionReport:
        who, deleted = system_principal(found.tenant), 0
        for document_id in found.document_ids:
            deleted += await self._catalogue.expire(who, document_id, before)
        log.info("collection %s: %d documents were kept long enough and deleted", found.collection, deleted)
        return RetentionReport(tenant=found.tenant, collection=found.collection, deleted=deleted)


def _too_much(found: Expired, rule: Keeping) -> bool:
    return len(found.document_ids) > max(ALWAYS_BELIEVED, rule.max_deleted_share * found.documents)


def _held(found: Expired, rule: Keeping) -> RetentionReport:
    number = len(found.document_ids)
    reason = (
        f"{number} of {found.documents} documents have not changed for {rule.days:g} days, more than "
        f"{rule.max_deleted_share:.0%}. If they are to go, run: bascule collections forget NAME --confirm-deletions"
    )
    log.warning("collection %s: %d deletions held back: %s", found.collection, number, reason)
    return RetentionReport(tenant=found.tenant, collection=found.collection, held_back=number, reason=reason)
