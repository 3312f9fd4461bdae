"""Rights on a document: allow and deny marks; deny beats allow; none means nobody but its owner and admins."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

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


def may_read(rights: Rights, principal: Principal) -> bool:
    """The rule itself, as plain as it can be said. The catalogue decides the same in SQL; tests hold the two together."""
    if principal.is_admin:
        return True
    marks = principal.marks()
    if rights.deny & marks:
        return False
    if rights.owner and rights.owner == principal.subject:
        return True
    return bool(rights.allow & marks)


__all__ = ["PUBLIC", "Rights", "may_read", "parse_mark"]
