"""Makes text plain: one form per character, nothing invisible, nothing repeated; all that goes is counted.

The order matters: damaged encodings are repaired while their bytes are still there, then what no reader sees goes, then
white space. Pages' repeated headers and footers and a block said twice under one heading go last.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from bascule.core.parsing import Block

_CONTINUATION: Final = "\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"
_MOJIBAKE: Final = re.compile(f"[Â-ß][{_CONTINUATION}]|[à-ï][{_CONTINUATION}]{{2}}|[ð-ô][{_CONTINUATION}]{{3}}")
_PLAUSIBLE: Final = re.compile(  # Latin, Greek, Cyrillic, punctuation, signs, kana, ideographs, emoji
    r"[\u00a0-\u024f\u0370-\u052f\u2010-\u20bf\u2100-\u22ff\u3040-\u30ff\u4e00-\u9fff\U0001f300-\U0001faff]"
)
_JOINERS_IN_USE: Final = re.compile(  # Persian and Indic spelling, and emoji made of several
    r"(?<=[\u0600-\u0dff])[\u200c\u200d](?=[\u0600-\u0dff])"
    r"|(?<=[\u2190-\u2bff\ufe0f\U0001f000-\U0001faff])\u200d(?=[\u2190-\u2bff\U0001f000-\U0001faff])"
    r"|(?<=[#*0-9\u00a9\u00ae\u2000-\u32ff\U0001f000-\U0001faff])\ufe0f"
)
_HIDDEN: Final = {
    "bidi_controls": re.compile(r"[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"),
    "tag_characters": re.compile(r"[\U000e0000-\U000e01ef\ufe00-\ufe0f]"),
    "zero_width": re.compile(
        r"[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200d\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb]"
    ),
    "control_characters": re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"),
}
_MARK: Final = r"[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
_STACKED_MARKS: Final = re.compile(f"({_MARK}{{3}}){_MARK}+")
_LINE_ENDS: Final = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_SPACES: Final = re.compile(r"[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_RUNS: Final = re.compile(r"(?<=\S)[ \t]{2,}(?=\S)")
_TRAILING: Final = re.compile(r"[ \t]+(?=\n|\Z)")
_BLANK_LINES: Final = re.compile(r"\n{3,}")
_DIGITS: Final = re.compile(r"\d+")

_MIN_PAGES: Final = 3
_FURNITURE_SHARE: Final = 0.6
_FURNITURE_CHARS: Final = 150
_MIN_DUPLICATE_CHARS: Final = 60
_KEEP: Final = "\ue000"


class Cleaned(msgspec.Struct, frozen=True):
    """`removed` and `repaired` count what was done, by kind."""

    blocks: tuple[Block, ...]
    removed: dict[str, int]
    repaired: dict[str, int]


def clean(blocks: Iterable[Block]) -> Cleaned:
    removed: Counter[str] = Counter()
    repaired: Counter[str] = Counter()
    plain = [block for block in (_clean_block(b, removed, repaired) for b in blocks) if block.text.strip()]
    plain = _without_page_furniture(plain, removed)
    plain = _without_duplicates(plain, removed)
    return Cleaned(tuple(plain), dict(removed), dict(repaired))


def clean_line(text: str) -> str:
    """A title or a name: cleaned and on one line."""
    return " ".join(clean_text(text, Counter(), Counter()).split())


def clean_text(text: str, removed: Counter[str], repaired: Counter[str], *, code: bool = False) -> str:
    if text.isascii():
        if is_plain(text):
            return _white_space(text, code)
        visible = _HIDDEN["control_characters"].sub("", text)
        _count(removed, "control_characters", len(text) - len(visible))
        return _white_space(_LINE_ENDS.sub("\n", visible), code)
    text = _repair(text, repaired)
    text = _visible(_LINE_ENDS.sub("\n", text), removed)
    text = _STACKED_MARKS.sub(lambda match: _cut_marks(match, removed), text)
    if not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
        repaired["normalised_blocks"] += 1
    return _white_space(_SPACES.sub(" ", text), code)


def is_plain(text: str) -> bool:
    """ASCII without a control character or a line end but the usual ones."""
    return text.isascii() and text.replace("\n", "").replace("\t", "").isprintable()


def _clean_block(block: Block, removed: Counter[str], repaired: Counter[str]) -> Block:
    if block.rows:
        rows = tuple(tuple(" ".join(clean_text(c, removed, repaired).split()) for c in row) for row in block.rows)
        return msgspec.structs.replace(block, rows=rows, text=table_text(rows))
    text = clean_text(block.text, removed, repaired, code=block.kind == "code")
    return block if text == block.text else msgspec.structs.replace(block, text=text)


def table_text(rows: Sequence[Sequence[str]]) -> str:
    """A table as lines of `a | b`. An empty header line is left out."""
    return "\n".join(row_text(row) for number, row in enumerate(rows) if number or any(row))


def row_text(row: Sequence[str]) -> str:
    return " | ".join(row)


def _count(counter: Counter[str], name: str, number: int) -> None:
    if number:
        counter[name] += number


def _repair(text: str, repaired: Counter[str]) -> str:
    """UTF-8 that was once read as Windows-1252 ("cafÃ©"), sequence by sequence, where the result is plausible."""

    def mend(match: re.Match[str]) -> str:
        try:
            mended = b"".join(_byte(char) for char in match.group()).decode("utf-8")
        except UnicodeDecodeError:
            return match.group()
        if not _PLAUSIBLE.fullmatch(mended):
            return match.group()
        repaired["mojibake"] += 1
        return mended

    return _MOJIBAKE.sub(mend, text)


def _byte(char: str) -> bytes:
    return char.encode("latin-1") if ord(char) < 256 else char.encode("cp1252")


def _visible(text: str, removed: Counter[str]) -> str:
    kept: list[str] = []

    def keep(match: re.Match[str]) -> str:
        kept.append(match.group())
        return _KEEP

    text = _JOINERS_IN_USE.sub(keep, text.replace(_KEEP, ""))
    for name, pattern in _HIDDEN.items():
        text, number = pattern.subn("", text)
        _count(removed, name, number)
    if kept:
        joiners = iter(kept)
        text = re.sub(_KEEP, lambda _: next(joiners), text)
    return text


def _cut_marks(match: re.Match[str], removed: Counter[str]) -> str:
    removed["stacked_marks"] += len(match.group()) - 3
    return match.group(1)


def _white_space(text: str, code: bool) -> str:
    """Each expression only where it may find something: looking for two characters costs a tenth of it."""
    tabs = "\t" in text
    if not code and (tabs or "  " in text):
        text = _RUNS.sub(" ", text)
    if tabs or " \n" in text or text.endswith(" "):
        text = _TRAILING.sub("", text)
    if "\n\n\n" in text:
        text = _BLANK_LINES.sub("\n\n", text)
    return text.strip("\n")


def _without_page_furniture(blocks: list[Block], removed: Counter[str]) -> list[Block]:
    """Drops the first and last lines of pages that most pages share (numbers aside)."""
    pages = {block.page for block in blocks if block.page is not None}
    if len(pages) < _MIN_PAGES:
        return blocks
    edges = _edges(blocks)
    on_pages: dict[str, set[int | None]] = {}
    for index in edges:
        on_pages.setdefault(_pattern(blocks[index]), set()).add(blocks[index].page)
    enough = max(_MIN_PAGES, _FURNITURE_SHARE * len(pages))
    dropped = {index for index in edges if len(on_pages[_pattern(blocks[index])]) >= enough}
    _count(removed, "page_headers_and_footers", len(dropped))
    return [block for index, block in enumerate(blocks) if index not in dropped]


def _edges(blocks: Sequence[Block]) -> set[int]:
    by_page: dict[int | None, list[int]] = {}
    for index, block in enumerate(blocks):
        by_page.setdefault(block.page, []).append(index)
    candidates = {index for indices in by_page.values() for index in (*indices[:2], *indices[-2:])}
    return {index for index in candidates if len(blocks[index].text) <= _FURNITURE_CHARS and not blocks[index].rows}


def _pattern(block: Block) -> str:
    return _DIGITS.sub("#", block.text)


def _without_duplicates(blocks: Sequence[Block], removed: Counter[str]) -> list[Block]:
    """Drops a longer block that repeats one under the same heading word for word; elsewhere it may mean something else."""
    seen: set[tuple[int, str]] = set()
    section = 0
    kept: list[Block] = []
    for block in blocks:
        section += block.kind == "heading"
        key = (section, block.text)
        if block.kind in ("paragraph", "list") and len(block.text) >= _MIN_DUPLICATE_CHARS and key in seen:
            removed["duplicate_blocks"] += 1
            continue
        seen.add(key)
        kept.append(block)
    return kept
