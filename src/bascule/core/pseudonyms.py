"""Pseudonyms of personal data: the same for the same value within a tenant, and nothing that can be turned back without the key
and the document itself.

A keyed hash (HMAC, RFC 2104): nothing is kept beside it. Who may, has the stored document read again and is told which of its
values has this pseudonym; so it goes with its document.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import Final

_CHARS: Final = 10  # of five bits each
PSEUDONYM: Final = re.compile(r"\[[a-z_]{2,20}:[a-z2-7]{10}\]")


def tenant_key(master: bytes, tenant: str) -> bytes:
    """Another key for each tenant, so that nobody learns from equal pseudonyms what two tenants share."""
    return hmac.digest(master, b"pseudonyms\0" + tenant.encode("utf-8", "surrogatepass"), hashlib.sha256)


def pseudonym(key: bytes, kind: str, value: str) -> str:
    """`[kind:abcdefghij]`. However a value is written, in capitals, with spaces or with dashes, it has one."""
    plain = "".join(char for char in value.casefold() if char.isalnum() or char in "@._%")
    digest = hmac.digest(key, f"{kind}\0{plain}".encode("utf-8", "surrogatepass"), hashlib.sha256)
    return f"[{kind}:{base64.b32encode(digest).decode().lower()[:_CHARS]}]"
