"""Text of a web page in UTF-8, whatever the site sent: what HTTP says of its letters is not known to anyone later."""

from __future__ import annotations

import codecs
import re
from typing import Final

_MARKS: Final = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_META: Final = re.compile(rb"<meta[^>]{0,300}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
_PARAMETER: Final = re.compile(r"charset\s*=\s*\"?([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
_LATIN: Final = frozenset(
    {"iso8859-1", "ascii", "latin-1"}
)  # on the web these all mean Windows' letters (WHATWG Encoding)


def as_utf8(data: bytes, content_type: str) -> bytes:
    """The text in UTF-8. Its own mark decides, then plain validity, then what HTTP or the page says; at last Windows-1252.

    What had to be converted begins with a byte-order mark, so that the page's own (now wrong) word is not believed.
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            return data if name == "utf-8" else _marked(data[len(mark) :].decode(name, "replace"))
    declared = _codec(_PARAMETER.search(content_type)) or _codec(_META.search(data[:2048]))
    if _is_utf8(data) and not declared.startswith(("utf-16", "utf-32", "iso2022", "hz")):
        return data
    for name in (declared, "cp1252"):
        try:
            if name:
                return _marked(data.decode(name))
        except UnicodeDecodeError:
            continue
    return _marked(data.decode("cp1252", "replace"))


def _codec(found: re.Match[str] | re.Match[bytes] | None) -> str:
    """Python's name of a declared text encoding; "" for none, and for what is no encoding of text."""
    if found is None:
        return ""
    name = found[1] if isinstance(found[1], str) else found[1].decode("ascii")
    try:
        codec = codecs.lookup(name)
    except LookupError:
        return ""
    known = codec.name.lower()
    if not getattr(codec, "_is_text_encoding", True) or known in ("utf-7", "idna", "punycode", "unicode_escape"):
        return ""
    return "cp1252" if known in _LATIN else known


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _marked(text: str) -> bytes:
    return codecs.BOM_UTF8 + text.removeprefix("\ufeff").encode("utf-8", "replace")
