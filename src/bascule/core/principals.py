"""Who asks. A Principal travels as an argument through every read; there is no current user anywhere."""

from __future__ import annotations

from typing import Final

import msgspec

PUBLIC: Final = "public"

SCOPE_CHAT: Final = "chat"  # model calls
SCOPE_ASK: Final = "ask"  # search, answers, reading documents one may read
SCOPE_INGEST: Final = "ingest"  # adding, changing and deleting one's own documents
SCOPE_ADMIN: Final = "admin"  # everything within the tenant, every document included
SCOPE_AUDIT: Final = "audit"  # the unredacted truth of a trace; its use is itself audited
SCOPE_METRICS: Final = "metrics"  # /metrics
SCOPE_ACT_AS: Final = "act_as"  # speaking for end users by signed tokens; nobody has it without being given it
SCOPE_SCIM: Final = "scim"  # keeping users and groups, for an identity system; nothing else
ALL_SCOPES: Final = frozenset(
    {SCOPE_CHAT, SCOPE_ASK, SCOPE_INGEST, SCOPE_ADMIN, SCOPE_AUDIT, SCOPE_METRICS, SCOPE_ACT_AS, SCOPE_SCIM}
)
DEFAULT_SCOPES: Final = frozenset({SCOPE_CHAT, SCOPE_ASK})


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A verified caller. Only `access` (from a checked credential) and the operator's own CLI make one.

    `groups` are the *effective* groups (a key's groups intersected with its subject's groups in the directory). `unused_groups`:
    the subject's others in the directory, which this credential leaves out: they let nobody in, and shut out as ever.
    """

    tenant: str
    subject: str = ""  # "" for a key that speaks for no person
    groups: frozenset[str] = frozenset()
    unused_groups: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    key_id: str = ""
    system: bool = False  # background work; see `system_principal`

    @property
    def is_admin(self) -> bool:
        return self.system or SCOPE_ADMIN in self.scopes

    def can(self, scope: str) -> bool:
        return self.is_admin or scope in self.scopes

    def marks(self) -> frozenset[str]:
        """The strings a document's allow list is matched against, e.g. {"public", "user:ann", "group:hr"}."""
        own = {PUBLIC}
        if self.subject:
            own.add(f"user:{self.subject}")
        own.update(f"group:{g}" for g in self.groups)
        own.update(f"role:{r}" for r in self.roles)
        return frozenset(own)

    def shutting_marks(self) -> frozenset[str]:
        """Those a deny list is matched against: a credential that leaves a group out must not open what is closed to the group."""
        return self.marks().union(f"group:{g}" for g in self.unused_groups)


def system_principal(tenant: str) -> Principal:
    """The principal of background work (jobs, purges, sweeps). Called by `bootstrap`, `access`, `db` and jobs, never by a route."""
    return Principal(tenant=tenant, scopes=ALL_SCOPES, system=True)
