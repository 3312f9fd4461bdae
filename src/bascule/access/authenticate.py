"""From a credential to a Principal: in memory, at the cost of one hash, and never staler than half a second."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Mapping, Sequence, Set
from datetime import datetime
from typing import Final

import msgspec

from bascule.core.catalogue import Keys
from bascule.core.errors import AuthenticationFailed, StorageError
from bascule.core.keys import KeyRecord
from bascule.core.principals import Principal

log = logging.getLogger(__name__)

STALE_AFTER_S: Final = 10.0
MOST_AT_ONCE: Final = 1_000
_MAX_CREDENTIAL_CHARS: Final = 512
_Who = tuple[str, str]  # (tenant, subject)


class _Entry(msgspec.Struct, frozen=True):
    record: KeyRecord
    principal: Principal
    expires_at_s: float


class Authenticator:
    """Holds every active key, by hash.

    A key is found by the SHA-256 of what was sent: comparing digests of a 256-bit random key leaks nothing by its timing
    that helps to guess the key.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._entries: dict[bytes, _Entry] = {}
        self._by_id: dict[str, KeyRecord] = {}
        self._hashes: dict[_Who, list[bytes]] = {}
        self._directory: dict[_Who, frozenset[str]] = {}
        self._off: frozenset[_Who] = frozenset()
        self._mark: str | None = None
        self._fresh_at_s: float | None = None  # None: nobody watches, so `refresh` alone decides
        self._turn = asyncio.Lock()  # or a slow look would put back what a later one has taken away

    async def refresh(self) -> None:
        """Read keys and memberships again. Raises StorageError; what was known stays."""
        async with self._turn:
            await self._read_all()

    async def refresh_some(self, tenant: str, subjects: Set[str]) -> None:
        """Read again what concerns these users: all that their directory changed. Raises StorageError."""
        if len(subjects) > MOST_AT_ONCE:
            await self.refresh()
            return
        async with self._turn:
            found = await self._keys.standing(tenant, subjects)
            whose = {(tenant, subject) for subject in subjects}
            for who in whose:
                self._directory.pop(who, None)
            self._directory |= {(tenant, subject): groups for subject, groups in found.groups.items()}
            self._off = (self._off - whose) | {(tenant, subject) for subject in found.off}
            self._put_keys(whose, [record for record in found.keys if record.subject not in found.off])

    def _put_keys(self, whose: set[_Who], records: Sequence[KeyRecord]) -> None:
        had = {hashed: self._entries.pop(hashed) for who in whose for hashed in self._hashes.pop(who, ())}
        for entry in had.values():
            self._by_id.pop(entry.record.id, None)
        for record in records:
            hashed, entry = bytes.fromhex(record.secret_hash), _entry(record, self._directory)
            entry = had[hashed] if had.get(hashed) == entry else entry
            self._entries[hashed] = entry
            self._by_id[record.id] = entry.record
            self._hashes.setdefault((record.tenant, record.subject), []).append(hashed)

    async def _read_all(self) -> None:
        mark = await self._keys.change_mark()  # first: a change during the reads is then seen by the next look
        records = await self._keys.active_keys()
        directory, off = await self._keys.all_memberships(), await self._keys.inactive_subjects()
        found = {
            bytes.fromhex(r.secret_hash): _entry(r, directory) for r in records if (r.tenant, r.subject) not in off
        }
        # What has not changed stays the same object: much is kept elsewhere for as long as it is.
        kept = {hashed: was for hashed, was in self._entries.items() if found.get(hashed) == was}
        self._entries = found | kept
        self._by_id = {entry.record.id: entry.record for entry in self._entries.values()}
        self._hashes = {}
        for hashed, entry in self._entries.items():
            self._hashes.setdefault((entry.record.tenant, entry.record.subject), []).append(hashed)
        self._directory, self._off = directory, off
        self._mark = mark

    async def watch(self, every_s: float = 0.5) -> None:
        """Follow changes until cancelled. While the catalogue does not answer, what is known serves for STALE_AFTER_S and
        then nobody is let in: a key may have been revoked."""
        self._fresh_at_s = time.monotonic()
        try:
            while True:
                await self._look()
                await asyncio.sleep(every_s)
        finally:
            self._fresh_at_s = None

    async def _look(self) -> None:
        try:
            if await self._keys.change_mark() != self._mark:
                await self.refresh()
            self._fresh_at_s = time.monotonic()
        except StorageError as error:
            log.warning("keys could not be refreshed: %s", error.message)

    def principal(self, authorization: str | None) -> Principal:
        """Who sent this `Authorization` header (`Bearer KEY`, or a bare key).

        Raises AuthenticationFailed for none, an unknown, an expired or a revoked one (they look the same), and StorageError
        when keys have not been refreshed for too long.
        """
        return self.known(self.hashed(authorization))

    def known(self, hashed: bytes) -> Principal:
        """Whose key has this hash. Raises as `principal`."""
        if self._is_stale():
            raise StorageError("Keys cannot be checked at the moment.")
        principal = self.holder(hashed)
        if principal is None:
            raise AuthenticationFailed("This API key is not valid.")
        return principal

    @staticmethod
    def hashed(authorization: str | None) -> bytes:
        """What a key is found by. Raises AuthenticationFailed for what cannot be one."""
        return hashlib.sha256(_credential(authorization).encode("utf-8", "replace")).digest()

    def holder(self, hashed: bytes) -> Principal | None:
        """Whose key this is at this moment; None for one that is unknown, expired or revoked, and while keys cannot be checked.
        The same object as long as nothing about the key and its holder's rights has changed."""
        entry = self._entries.get(hashed)
        if entry is None or entry.expires_at_s <= time.time() or self._is_stale():
            return None
        return entry.principal

    def groups_of(self, tenant: str, subject: str) -> frozenset[str] | None:
        """A user's groups in the directory; None for one that is switched off."""
        return None if self.is_off(tenant, subject) else self._directory.get((tenant, subject), frozenset())

    def with_the_rest(self, principal: Principal) -> Principal:
        """Somebody who came with groups of their own, by a token: the directory's shut them out all the same."""
        unused = self._directory.get((principal.tenant, principal.subject), frozenset()) - principal.groups
        return msgspec.structs.replace(principal, unused_groups=unused) if unused else principal

    def is_off(self, tenant: str, subject: str) -> bool:
        """Raises StorageError while the directory cannot be followed."""
        if self._is_stale():
            raise StorageError("Keys cannot be checked at the moment.")
        return (tenant, subject) in self._off

    def _is_stale(self) -> bool:
        return self._fresh_at_s is not None and time.monotonic() - self._fresh_at_s > STALE_AFTER_S

    def record(self, principal: Principal) -> KeyRecord | None:
        """The key a principal came with; None for one that came without, or whose key is gone."""
        return self._by_id.get(principal.key_id)


def bearer(authorization: str | None) -> str:
    """What an `Authorization` header holds: a key or a token. Raises AuthenticationFailed without one."""
    if not authorization:
        raise AuthenticationFailed("Send an API key: `Authorization: Bearer KEY` or `x-api-key: KEY`.")
    scheme, _, rest = authorization.strip().partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else authorization.strip()


def _credential(authorization: str | None) -> str:
    credential = bearer(authorization)
    if not credential or len(credential) > _MAX_CREDENTIAL_CHARS:
        raise AuthenticationFailed("This API key is not valid.")
    return credential


def _entry(record: KeyRecord, directory: Mapping[_Who, frozenset[str]]) -> _Entry:
    """A key's groups only narrow its subject's groups in the directory; a key that speaks for no person has its own."""
    groups, all_ = record.groups, frozenset[str]()
    if record.subject:
        all_ = directory.get((record.tenant, record.subject), frozenset())
        groups &= all_
    principal = Principal(
        tenant=record.tenant,
        subject=record.subject,
        groups=groups,
        unused_groups=all_ - groups,
        roles=record.roles,
        scopes=record.scopes,
        key_id=record.id,
    )
    expires_at_s = datetime.fromisoformat(record.expires_at).timestamp() if record.expires_at else float("inf")
    return _Entry(record, principal, expires_at_s)
