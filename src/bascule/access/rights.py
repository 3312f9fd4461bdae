"""Changing who may read a document. Audited first, effective at commit, without touching a chunk's text or vector."""

from __future__ import annotations

from collections.abc import Iterable

from bascule.core.catalogue import AuditLog, Documents
from bascule.core.documents import Document
from bascule.core.principals import Principal
from bascule.core.rights import Rights, parse_mark


class RightsService:
    """Only a document's owner and admins may change its rights; for anybody else it does not exist (NotFound)."""

    def __init__(self, documents: Documents, audit: AuditLog) -> None:
        self._documents = documents
        self._audit = audit

    async def grant(
        self, principal: Principal, document_id: str, allow: Iterable[str] = (), deny: Iterable[str] = ()
    ) -> Document:
        """Add marks. A mark named in `allow` leaves the deny list, one named in `deny` leaves the allow list; named in
        both, deny wins. Raises NotFound, ScopeMissing, InvalidRequest and StorageError."""
        shut = frozenset(map(parse_mark, deny))
        opened = frozenset(map(parse_mark, allow)) - shut

        def change(now: Rights) -> Rights:
            return Rights(allow=(now.allow - shut) | opened, deny=(now.deny - opened) | shut, owner=now.owner)

        await self._audited(principal, "rights.grant", document_id, opened, shut)
        return await self._documents.change_rights(principal, document_id, change)

    async def revoke(self, principal: Principal, document_id: str, marks: Iterable[str]) -> Document:
        """Take marks off the allow list. Never off the deny list: revoking opens nothing. Raises as `grant`."""
        gone = frozenset(map(parse_mark, marks))

        def change(now: Rights) -> Rights:
            return Rights(allow=now.allow - gone, deny=now.deny, owner=now.owner)

        await self._audited(principal, "rights.revoke", document_id, gone, frozenset())
        return await self._documents.change_rights(principal, document_id, change)

    async def replace(
        self, principal: Principal, document_id: str, allow: Iterable[str], deny: Iterable[str]
    ) -> Document:
        """Both lists anew; the owner stays. Raises as `grant`."""
        rights = Rights.of(allow, deny)
        await self._audited(principal, "rights.replace", document_id, rights.allow, rights.deny)
        return await self._documents.set_rights(principal, document_id, rights)

    async def _audited(
        self, principal: Principal, act: str, document_id: str, allow: frozenset[str], deny: frozenset[str]
    ) -> None:
        await self._audit.audit(principal, act, document_id, {"allow": sorted(allow), "deny": sorted(deny)})
