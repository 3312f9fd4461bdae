"""From bytes to text: which encoding this is, and what had to be repaired."""

from __future__ import annotations

import codecs
import re
from contextlib import suppress
from typing import Final

import msgspec

_BOMS: Final = (  # utf-32 first: its little-endian mark begins with utf-16's
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LATIN_1: Final = "bascule-latin-1"
_SAMPLE_BYTES: Final = 65_536
_DECLARED: Final = re.compile(
    rb"<(?:meta\b[^>]{0,300}?charset|\?xml\b[^>]{0,200}?encoding)\s*=\s*[\"']?\s*([\w.:-]{2,40})", re.I
)
_MULTIBYTE_UTF8: Final = re.compile(rb"[\xc3-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_ISO_2022: Final = (  # by the escape sequences that choose a character set
    (re.compile(rb"\x1b\$\)C"), ("iso2022_kr",)),
    (re.compile(rb"\x1b(?:\$[@B]|\$\([A-DOPQ]|\([IJ])"), ("iso2022_jp_2", "iso2022_jp_ext", "iso2022_jp_3")),
)
_KANA: Final = re.compile(r"[\u3041-\u3096\u30a1-\u30fa\u30fc]")
_NON_ASCII: Final = re.compile(r"[^\x00-\x7f]")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_MAX_CONTROL_SHARE: Final = 0.02


class Decoded(msgspec.Struct, frozen=True, kw_only=True):
    """`guessed` when neither a mark nor a strict UTF-8 reading settles it; `replaced` counts unreadable bytes."""

    text: str
    encoding: str
    guessed: bool = False
    replaced: int = 0


def decode(data: bytes) -> Decoded | None:
    """Read bytes as text: byte order mark, ISO-2022 by its escapes, UTF-16/32 by their zero bytes, UTF-8, a declared charset,
    Shift-JIS, Windows-1252.

    None when this is no text: too many control characters however it is read.
    """
    found = _marked(data) or _escaped(data) or _wide(data) or _utf8(data)
    found = found or _declared(data) or _shift_jis(data) or _western(data)
    return found if looks_like_text(found.text) else None


def looks_like_text(text: str) -> bool:
    sample = text[:_SAMPLE_BYTES]
    return len(_CONTROL.findall(sample)) <= _MAX_CONTROL_SHARE * len(sample)


def _marked(data: bytes) -> Decoded | None:
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            text = data[len(mark) :].decode(encoding, errors="replace")
            return Decoded(text=text, encoding=encoding, replaced=text.count("\ufffd"))
    return None


def _escaped(data: bytes) -> Decoded | None:
    """Japanese and Korean in seven bits: as UTF-8 it would be letters without a meaning."""
    if b"\x1b" not in data or not data.isascii():
        return None
    for escape, encodings in _ISO_2022:
        for encoding in encodings if escape.search(data) else ():
            with suppress(UnicodeDecodeError):
                return Decoded(text=data.decode(encoding), encoding=encoding)
    return None


def _wide(data: bytes) -> Decoded | None:
    """UTF-16 and UTF-32 without a mark: a text with any Latin in it has zero bytes at fixed places."""
    sample = data[: _SAMPLE_BYTES - _SAMPLE_BYTES % 4]
    if len(sample) < 4 or b"\0" not in sample:
        return None
    zeros = [sample[i::4].count(0) / max(1, len(sample[i::4])) for i in range(4)]
    for encoding, matches in (
        ("utf-32-le", zeros[3] > 0.9 and zeros[2] > 0.9 and zeros[0] < 0.2),
        ("utf-32-be", zeros[0] > 0.9 and zeros[1] > 0.9 and zeros[3] < 0.2),
        ("utf-16-le", zeros[1] + zeros[3] > 0.4 and zeros[0] + zeros[2] < 0.1),
        ("utf-16-be", zeros[0] + zeros[2] > 0.4 and zeros[1] + zeros[3] < 0.1),
    ):
        if matches:
            text = data.decode(encoding, errors="replace")
            return Decoded(text=text, encoding=encoding, guessed=True, replaced=text.count("\ufffd"))
    return None


def _utf8(data: bytes) -> Decoded | None:
    """Strict UTF-8, or UTF-8 with damaged places where most of what is not ASCII is well formed."""
    try:
        return Decoded(text=data.decode("utf-8"), encoding="utf-8")
    except UnicodeDecodeError:
        well_formed = sum(len(m) for m in _MULTIBYTE_UTF8.findall(data))
        outside = len(data) - len(data.translate(None, bytes(range(128, 256))))
        if well_formed < 0.8 * outside:
            return None
        text = data.decode("utf-8", errors="replace")
        return Decoded(text=text, encoding="utf-8", guessed=True, replaced=text.count("\ufffd"))


def _declared(data: bytes) -> Decoded | None:
    """What the document itself says (HTML's `charset`, XML's `encoding`), when it can be read that way without a fault."""
    match = _DECLARED.search(data[:4096])
    if not match:
        return None
    try:
        codec = codecs.lookup(match.group(1).decode("ascii"))
        if not getattr(codec, "_is_text_encoding", True):
            return None
        name = "cp1252" if codec.name in ("iso8859-1", "ascii") else codec.name  # as browsers read it
        return Decoded(text=data.decode(name), encoding=name)
    except (LookupError, UnicodeError, ValueError):
        return None


def _shift_jis(data: bytes) -> Decoded | None:
    """Japanese text always has kana; Western text read as Shift-JIS never has many."""
    try:
        text = data.decode("cp932")
    except UnicodeDecodeError:
        return None
    outside = len(_NON_ASCII.findall(text[:_SAMPLE_BYTES]))
    kana = len(_KANA.findall(text[:_SAMPLE_BYTES]))
    return Decoded(text=text, encoding="shift_jis", guessed=True) if kana >= 2 and kana > 0.2 * outside else None


def _western(data: bytes) -> Decoded:
    """Windows-1252, with Latin-1 for the five bytes it leaves undefined: every byte has a meaning, so no text is lost."""
    undefined = len(data) - len(data.translate(None, b"\x81\x8d\x8f\x90\x9d"))
    text = data.decode("cp1252", errors=_LATIN_1)
    return Decoded(text=text, encoding="cp1252", guessed=True, replaced=undefined)


def _as_latin_1(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error(_LATIN_1, _as_latin_1)
