"""Making, listing and revoking API keys. Every act is in the audit log before it happens, or does not happen."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import msgspec

from bascule.core.catalogue import AuditLog, Keys
from bascule.core.errors import InvalidRequest, NotFound, ScopeMissing
from bascule.core.ids import new_id
from bascule.core.keys import KeyRecord
from bascule.core.principals import ALL_SCOPES, DEFAULT_SCOPES, SCOPE_ADMIN, Principal, system_principal
from bascule.core.rights import parse_mark

PREFIX: Final = "bsk_"
MAX_OVERLAP_S: Final = 30 * 86_400.0
PREFIX_CHARS: Final = 12  # what is shown of a key
_N = TypeVar("_N", int, float)
_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class KeyService:
    def __init__(self, keys: Keys, audit: AuditLog) -> None:
        self._keys = keys
        self._audit = audit

    async def create(
        self,
        principal: Principal,
        *,
        name: str,
        tenant: str | None = None,
        subject: str = "",
        groups: Iterable[str] = (),
        roles: Iterable[str] = (),
        scopes: Iterable[str] = DEFAULT_SCOPES,
        expires_at: str | None = None,
        requests_per_min: int | None = None,
        tokens_per_min: int | None = None,
        usd_per_day: float | None = None,
        concurrent: int | None = None,
        usd_per_month: float | None = None,
    ) -> tuple[KeyRecord, str]:
        """A new key and its secret, which is shown this once and kept as a hash only. `tenant` None: the maker's own.

        For a `subject`, `groups` are also entered in the directory; they narrow what the key may use of it later.
        Raises ScopeMissing without admin or for a scope the maker lacks, NotFound for a tenant that is not the maker's,
        InvalidRequest for a malformed name, mark, scope, limit or instant, StorageError when it cannot be audited.
        """
        _need_admin(principal)
        secret = PREFIX + secrets.token_urlsafe(32)
        record = KeyRecord(
            id=new_id(),
            tenant=_tenant(principal, tenant),
            name=_name(name),
            prefix=secret[:PREFIX_CHARS],
            secret_hash=hashlib.sha256(secret.encode()).hexdigest(),
            subject=_marked("user", subject, "subject") if subject else "",
            groups=frozenset(_marked("group", group, "groups") for group in groups),
            roles=frozenset(_marked("role", role, "roles") for role in roles),
            scopes=_scopes(principal, scopes),
            created_at=_text(datetime.now(UTC)),
            expires_at=_expiry(expires_at),
            requests_per_min=_limit(requests_per_min, "requests_per_min"),
            tokens_per_min=_limit(tokens_per_min, "tokens_per_min"),
            usd_per_day=_limit(usd_per_day, "usd_per_day"),
            concurrent=_limit(concurrent, "concurrent"),
            usd_per_month=_limit(usd_per_month, "usd_per_month"),
        )
        await self._audit.audit(principal, "key.create", record.id, _facts(record))
        if record.subject and record.groups:
            await self._keys.add_membership(_within(principal, record.tenant), record.subject, sorted(record.groups))
        await self._keys.add_key(principal, record)
        return record, secret

    async def list(self, principal: Principal) -> Sequence[KeyRecord]:
        """The tenant's for an admin, all for the operator, one's own otherwise."""
        return await self._keys.keys(principal)

    async def revoke(self, principal: Principal, key_id: str) -> KeyRecord:
        """Refused everywhere within half a second. Anybody may revoke their own key. Raises NotFound, StorageError."""
        if key_id not in {key.id for key in await self._keys.keys(principal)}:
            raise NotFound("There is no such key.")
        await self._audit.audit(principal, "key.revoke", key_id, {})
        return await self._keys.revoke_key(principal, key_id)

    async def rotate(self, principal: Principal, key_id: str, overlap_s: float = 0.0) -> tuple[KeyRecord, str]:
        """A new key with all that the old one has, and its secret. The old one ends after `overlap_s` seconds (at most
        MAX_OVERLAP_S), so that its users can change over, and never later than it would have.

        An administrator rotates any key of the tenant whose scopes it has itself; any key may rotate itself.
        Raises NotFound, ScopeMissing, InvalidRequest, StorageError.
        """
        if not 0 <= overlap_s <= MAX_OVERLAP_S:
            raise InvalidRequest(f"overlap_s is 0 to {MAX_OVERLAP_S:.0f} seconds.", param="overlap_s")
        old = await self._find(principal, key_id)
        if key_id != principal.key_id:
            _need_admin(principal)
        _scopes(principal, old.scopes)
        secret = PREFIX + secrets.token_urlsafe(32)
        now = datetime.now(UTC)
        record = msgspec.structs.replace(
            old,
            id=new_id(),
            prefix=secret[:PREFIX_CHARS],
            secret_hash=hashlib.sha256(secret.encode()).hexdigest(),
            created_at=_text(now),
        )
        ends_at = _text(now + timedelta(seconds=overlap_s))
        await self._audit.audit(principal, "key.rotate", key_id, {"new": record.id, "overlap_s": overlap_s})
        # Checked above; a key that replaces itself has no right to make keys in general.
        replacer = system_principal(old.tenant)
        await self._keys.add_key(replacer, record)
        await self._keys.expire_key(replacer, key_id, min(ends_at, old.expires_at or ends_at))
        return record, secret

    async def expire(self, principal: Principal, key_id: str, expires_at: str | None) -> KeyRecord:
        """Set the instant at which a key ends: one in the past disables it, None or a later one enables it again; a revoked
        key stays revoked. Raises ScopeMissing without admin, NotFound, InvalidRequest, StorageError."""
        _need_admin(principal)
        ends_at = _expiry(expires_at)
        old = await self._find(principal, key_id)
        _scopes(principal, old.scopes)
        await self._audit.audit(principal, "key.expire", key_id, {"expires_at": ends_at})
        return await self._keys.expire_key(principal, key_id, ends_at)

    async def _find(self, principal: Principal, key_id: str) -> KeyRecord:
        for key in await self._keys.keys(principal):
            if key.id == key_id and key.revoked_at is None:
                return key
        raise NotFound("There is no such key.")

    async def add_to_groups(self, principal: Principal, subject: str, groups: Iterable[str]) -> None:
        """Raises ScopeMissing without admin, InvalidRequest, StorageError."""
        _need_admin(principal)
        who, wanted = _marked("user", subject, "subject"), sorted({_marked("group", g, "groups") for g in groups})
        await self._audit.audit(principal, "membership.add", who, {"groups": wanted})
        await self._keys.add_membership(principal, who, wanted)

    async def remove_from_groups(self, principal: Principal, subject: str, groups: Iterable[str]) -> None:
        """Raises ScopeMissing without admin, InvalidRequest, StorageError."""
        _need_admin(principal)
        who, wanted = _marked("user", subject, "subject"), sorted({_marked("group", g, "groups") for g in groups})
        await self._audit.audit(principal, "membership.remove", who, {"groups": wanted})
        await self._keys.remove_membership(principal, who, wanted)


def _need_admin(principal: Principal) -> None:
    if not principal.is_admin:
        raise ScopeMissing(f"This key lacks the scope {SCOPE_ADMIN!r}.")


def _within(principal: Principal, tenant: str) -> Principal:
    """The operator acts within the tenant it names; for anybody else that is its own anyway (see `_tenant`)."""
    if principal.tenant == tenant:
        return principal
    return Principal(
        tenant=tenant,
        subject=principal.subject,
        scopes=principal.scopes,
        key_id=principal.key_id,
        system=principal.system,
    )


def _tenant(principal: Principal, tenant: str | None) -> str:
    wanted = tenant if tenant is not None else principal.tenant
    if not principal.system and wanted != principal.tenant:
        raise NotFound("There is no such tenant.", param="tenant")
    if not _TENANT.fullmatch(wanted):
        raise InvalidRequest("A tenant has 1 to 64 letters, digits, dots, dashes and underscores.", param="tenant")
    return wanted


def _name(name: str) -> str:
    if not 0 < len(name) <= 200 or not name.isprintable():
        raise InvalidRequest("A key's name has 1 to 200 printable characters.", param="name")
    return name


def _marked(kind: str, value: str, param: str) -> str:
    """The value, if `kind:value` can be a right."""
    try:
        parse_mark(f"{kind}:{value}")
    except InvalidRequest:
        raise InvalidRequest(
            f"{value[:80]!r} is not a name for a {kind}: 1 to 200 characters without blanks and commas.", param=param
        ) from None
    return value


def _scopes(principal: Principal, scopes: Iterable[str]) -> frozenset[str]:
    wanted = frozenset(scopes)
    unknown = sorted(wanted - ALL_SCOPES)
    if unknown:
        raise InvalidRequest(
            f"{unknown[0][:80]!r} is not a scope. There are {', '.join(sorted(ALL_SCOPES))}.", param="scopes"
        )
    lacking = sorted(scope for scope in wanted if not principal.can(scope))
    if lacking:
        raise ScopeMissing(f"You lack the scope {lacking[0]!r} yourself.", param="scopes")
    return wanted


def _expiry(expires_at: str | None) -> str | None:
    if expires_at is None:
        return None
    try:
        instant = datetime.fromisoformat(expires_at)
    except ValueError:
        raise InvalidRequest(
            "expires_at is an ISO 8601 instant, e.g. 2030-01-31T12:00:00Z.", param="expires_at"
        ) from None
    return _text(instant if instant.tzinfo else instant.replace(tzinfo=UTC))


def _limit(value: _N | None, param: str) -> _N | None:
    if value is not None and not 0 < value < float("inf"):
        raise InvalidRequest(f"{param} is a number above 0; leave it out for no limit.", param=param)
    return value


def _text(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _facts(record: KeyRecord) -> dict[str, object]:
    return {
        "tenant": record.tenant,
        "name": record.name,
        "subject": record.subject,
        "groups": sorted(record.groups),
        "roles": sorted(record.roles),
        "scopes": sorted(record.scopes),
        "expires_at": record.expires_at,
    }
