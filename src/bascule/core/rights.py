"""Rights on a document: allow and deny marks; deny beats allow; none means nobody but its owner and admins.

A document may inherit. Four levels can have rules, from the wide to the narrow: collection, source, folder (the deeper, the
narrower), document. Who is let in is said by the narrowest level that lets anybody in, and by the document alone once it was
given rights of its own; who is shut out is said by all of them together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from bascule.core.errors import InvalidRequest
from bascule.core.principals import PUBLIC, Principal

_MARK: Final = re.compile(r"public|(?:user|group|role):[^\s\x00-\x1f,]{1,200}")


def parse_mark(text: str) -> str:
    """Check `public`, `user:U`, `group:G` or `role:R`.

    Raises InvalidRequest for anything else.
    """
    if not _MARK.fullmatch(text):
        raise InvalidRequest(
            f"{text[:80]!r} is not a right. Write public, user:NAME, group:NAME or role:NAME.", param="allow"
        )
    return text


class Rights(msgspec.Struct, frozen=True, kw_only=True):
    allow: frozenset[str] = frozenset()
    deny: frozenset[str] = frozenset()
    owner: str = ""  # a subject; "" when nobody owns it

    @classmethod
    def of(cls, allow: Iterable[str] = (), deny: Iterable[str] = (), owner: str = "") -> Rights:
        """Build from caller's text. Raises InvalidRequest on a malformed mark."""
        return cls(allow=frozenset(map(parse_mark, allow)), deny=frozenset(map(parse_mark, deny)), owner=owner)

    def canonical(self) -> str:
        """One string per distinct set of rights: what an acl_id is interned by."""
        return "\n".join(
            ["+" + m for m in sorted(self.allow)] + ["-" + m for m in sorted(self.deny)] + ["=" + self.owner]
        )


LevelKind = Literal["collection", "source", "folder"]
RuleLevel = Literal["document", "folder", "source", "collection"]
LEVEL_KINDS: Final[tuple[LevelKind, ...]] = ("folder", "source", "collection")  # the narrowest first


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What a document itself was given. `allow` None: it lets in whom the levels above it let in."""

    allow: frozenset[str] | None
    deny: frozenset[str] = frozenset()
    owner: str = ""

    @classmethod
    def of(cls, rights: Rights) -> Given:
        return cls(allow=rights.allow, deny=rights.deny, owner=rights.owner)


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """A rule on many documents. `name`: of the collection or source; of a folder its path with a slash at its end."""

    kind: LevelKind
    name: str
    allow: frozenset[str]
    deny: frozenset[str]
    collection: str = ""  # of a folder


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why a principal may read a document, or not: the rule that decided.

    level   document, folder, source, collection; "" where no rule did
    effect  admin, owner, allow, deny, or none: nothing lets this principal in
    """

    allowed: bool
    effect: Literal["admin", "owner", "allow", "deny", "none"]
    level: RuleLevel | Literal[""] = ""
    name: str = ""
    mark: str = ""


def narrowest_first(levels: Iterable[Level]) -> list[Level]:
    return sorted(levels, key=lambda level: (LEVEL_KINDS.index(level.kind), -len(level.name), level.name))


def lets_in(levels: Iterable[Level]) -> Level | None:
    """The level that says who is let into a document that has no allow list of its own."""
    return next((level for level in narrowest_first(levels) if level.allow), None)


def effective(given: Given, levels: Sequence[Level]) -> Rights:
    """The rights in force on a document under these levels."""
    opening = lets_in(levels)
    inherited = opening.allow if opening else frozenset[str]()
    return Rights(
        allow=inherited if given.allow is None else given.allow,
        deny=given.deny.union(*(level.deny for level in levels)),
        owner=given.owner,
    )


def reason(given: Given, levels: Sequence[Level], principal: Principal) -> Reason:
    """`may_read(effective(...))` with the rule that decided; of several that deny, the narrowest."""
    if principal.is_admin:
        return Reason(allowed=True, effect="admin")
    marks, shutting = principal.marks(), principal.shutting_marks()
    own: list[tuple[RuleLevel, str, frozenset[str]]] = [("document", "", given.deny)]
    for kind, name, deny in own + [(level.kind, level.name, level.deny) for level in narrowest_first(levels)]:
        if deny & shutting:
            return Reason(allowed=False, effect="deny", level=kind, name=name, mark=min(deny & shutting))
    if given.owner and given.owner == principal.subject:
        return Reason(allowed=True, effect="owner", level="document", mark=f"user:{given.owner}")
    opening = lets_in(levels) if given.allow is None else None
    allow = (opening.allow if opening else frozenset[str]()) if given.allow is None else given.allow
    if not allow & marks:
        return Reason(allowed=False, effect="none")
    if opening:
        return Reason(allowed=True, effect="allow", level=opening.kind, name=opening.name, mark=min(allow & marks))
    return Reason(allowed=True, effect="allow", level="document", mark=min(allow & marks))


def may_read(rights: Rights, principal: Principal) -> bool:
    """The rule itself, as plain as it can be said. The catalogue decides the same in SQL; tests hold the two together."""
    if principal.is_admin:
        return True
    if rights.deny & principal.shutting_marks():
        return False
    if rights.owner and rights.owner == principal.subject:
        return True
    return bool(rights.allow & principal.marks())


__all__ = [
    "PUBLIC",
    "Given",
    "Level",
    "LevelKind",
    "Reason",
    "Rights",
    "effective",
    "lets_in",
    "may_read",
    "narrowest_first",
    "parse_mark",
    "reason",
]
