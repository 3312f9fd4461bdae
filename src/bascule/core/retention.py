"""How long a collection keeps documents that nobody changes."""

from __future__ import annotations

from typing import Protocol

import msgspec

from bascule.core.principals import Principal


class Expired(msgspec.Struct, frozen=True, kw_only=True):
    """Of one tenant's collection: `document_ids` have not changed since an instant; it holds `documents` in all."""

    tenant: str
    collection: str
    documents: int
    document_ids: tuple[str, ...]


class Expiry(Protocol):
    async def expired(self, principal: Principal | None, collection: str, before: str) -> list[Expired]:
        """Of the principal's tenant, or of every tenant for None, which is the worker's own right; oldest first. Nothing for
        a collection in which all is younger."""
        ...

    async def expire(self, principal: Principal, document_id: str, before: str) -> bool:
        """Delete it as any document, audited in the same transaction, if it has still not changed since."""
        ...
