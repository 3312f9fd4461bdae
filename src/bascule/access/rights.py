"""Changing who may read a document. Audited first, effective at commit, without touching a chunk's text or vector."""

from __future__ import annotations

from collections.abc import Iterable

from bascule.core.catalogue import AuditLog, Documents
from bascule.core.documents import Document
from bascule.core.errors import InvalidRequest, ScopeMissing
from bascule.core.principals import SCOPE_ADMIN, SCOPE_AUDIT, Principal
from bascule.core.rights import Level, LevelKind, Reason, Rights, parse_mark
from bascule.core.rights_levels import RightsLevels


class RightsService:
    """Only a document's owner and admins may change its rights; for anybody else it does not exist (NotFound)."""

    def __init__(self, documents: Documents, audit: AuditLog, levels: RightsLevels) -> None:
        self._documents = documents
        self._audit = audit
        self._levels = levels

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

    async def inherit(self, principal: Principal, document_id: str) -> Document:
        """Drop the document's own lists: the levels above it decide. Raises as `grant`."""
        await self._audit.audit(principal, "rights.inherit", document_id, {})
        return await self._levels.inherit_rights(principal, document_id)

    async def levels(self, principal: Principal) -> list[Level]:
        """Raises ScopeMissing without admin."""
        return await self._levels.levels(principal)

    async def set_level(
        self,
        principal: Principal,
        kind: LevelKind,
        name: str,
        allow: Iterable[str],
        deny: Iterable[str],
        collection: str = "",
    ) -> Level:
        """The rights of a collection, a source or a folder anew, in force for all under it when this returns; empty lists say
        nothing. Raises ScopeMissing without admin, NotFound, InvalidRequest, StorageError."""
        if not principal.is_admin:
            raise ScopeMissing(f"This key lacks the scope {SCOPE_ADMIN!r}.")
        rights = Rights.of(allow, deny)
        target = ":".join((kind, f"{collection}/{name}" if kind == "folder" else name))
        await self._audited(principal, "rights.level", target, rights.allow, rights.deny)
        return await self._levels.set_level(principal, kind, name, rights, collection)

    async def why(self, principal: Principal, document_id: str, mark: str) -> Reason:
        """Which rule decides whether `user:U` (with their groups of today), `group:G`, `role:R` or `public` may read it.

        Raises ScopeMissing without audit, InvalidRequest, NotFound, StorageError: asking is in the audit log itself.
        """
        if not principal.can(SCOPE_AUDIT):
            raise ScopeMissing(f"This key lacks the scope {SCOPE_AUDIT!r}.")
        asker = await self._asker(principal.tenant, parse_mark(mark))
        await self._audit.audit(principal, "rights.why", document_id, {"as": mark})
        return await self._levels.why(principal, document_id, asker)

    async def _asker(self, tenant: str, mark: str) -> Principal:
        kind, _, name = mark.partition(":")
        if kind == "user":
            groups = await self._levels.memberships(tenant, name)
            return Principal(tenant=tenant, subject=name, groups=groups)
        if kind == "group":
            return Principal(tenant=tenant, groups=frozenset({name}))
        if kind == "role":
            return Principal(tenant=tenant, roles=frozenset({name}))
        if kind == "public":
            return Principal(tenant=tenant)
        raise InvalidRequest("Name user:U, group:G, role:R or public.", param="as")

    async def _audited(
        self, principal: Principal, act: str, document_id: str, allow: frozenset[str], deny: frozenset[str]
    ) -> None:
        await self._audit.audit(principal, act, document_id, {"allow": sorted(allow), "deny": sorted(deny)})
