"""API keys as the catalogue keeps them: a hash, never the key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`secret_hash` is SHA-256 of the whole key (256 random bits need no slow hash). Limits are None for "no limit"."""

    id: str
    tenant: str
    name: str
    prefix: str
    secret_hash: str
    subject: str
    groups: frozenset[str]
    roles: frozenset[str]
    scopes: frozenset[str]
    created_at: str
    expires_at: str | None = None
    revoked_at: str | None = None
    requests_per_min: int | None = None
    tokens_per_min: int | None = None
    usd_per_day: float | None = None
    concurrent: int | None = None
    usd_per_month: float | None = None


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Of some users of one tenant: `groups`, through other groups too, of those who are in any and are not switched off; who is
    switched off; and their active keys."""

    groups: Mapping[str, frozenset[str]]
    off: frozenset[str]
    keys: Sequence[KeyRecord]
