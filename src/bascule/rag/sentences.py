"""Cutting text into sentences that can stand alone, with their exact places.

`split` reads a passage as documents are written: paragraphs wrapped by hand, lists, tables, code, headings and their
underlines. `cut` reads running prose, such as a model's answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal

import msgspec

Kind = Literal["prose", "item", "row", "entry"]


class Sentence(msgspec.Struct, frozen=True):
    """`text` reads on one line; characters [start, end) of the passage are where it comes from.

    kind  `prose`: a sentence; `item`: a list item, or a lead-in with its items; `row`: a table's row;
          `entry`: a signature with its description, as reference manuals have them
    """

    text: str
    start: int
    end: int
    kind: Kind = "prose"


_MARK: Final = r"(?:[ \t]*\[\d{1,3}(?:[ \t]*,[ \t]*\d{1,3})*\])"
_END: Final = re.compile(r"[.!?…。！？][\"'”’»)\]*_`]*" + _MARK + r"*(?=\s|$)|[。！？]")
_ABBREVIATION: Final = re.compile(
    r"(?:^|[\s(\[“\"'])(?:e\.g|i\.e|cf|etc|vs|approx|ca|mr|mrs|ms|dr|prof|sr|sra|st|fig|figs|eq|sec|vol|pp?|al|inc|ltd|co|corp"
    r"|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|u\.s|u\.k|[a-z](?:\.[a-z])*)\.$",
    re.IGNORECASE,
)
_OPENS: Final = re.compile(r"[\s\"'“‘«(\[*_`¿¡]*[A-Z0-9À-ÖØ-ÞĀ-ɏΑ-ЯЁ一-鿿぀-ヿ\-•]")
_RULE: Final = re.compile(r"[\s|]*[*=\-~^_+#:.|]{3,}[\s|*=\-~^_+#:.]*$")
_BULLET: Final = re.compile(r"\s*(?:[*\-•+–]|\d{1,3}[.)]|\(?[a-z][.)])\s+")
_ROW: Final = re.compile(r"\s*\|.*\|\s*$")
_PIPE: Final = re.compile(r"^\s*\|(?!.*\|\s*$)\s{0,2}")
_CODE: Final = re.compile(
    r"\s*(?:>>>|\.\.\. |#!|\$ |```"
    r"|(?:def|class|with|for|if|elif|while|try|except|else|finally|async|match|case)\b.*:\s*$"
    r"|(?:return|import|from|raise|assert|del|yield|pass|break|continue)\b[^.]*$"
    r"|[\w.\[\], ]+ (?:[-+*/|&@]?=|::=|:=) |[{}\[\]();]+$|[\w.]+\(.*\)\s*$)"
)
_SIGNATURE: Final = re.compile(
    r"\s*(?:class |def |async |classmethod |staticmethod )*[A-Za-z_][\w.]*\([^.!?]*\)(?:\s*->.*)?\s*$"
)
_SPACE: Final = re.compile(r"\s+")
_ROW_NUMBERED: Final = re.compile(r"notes?$", re.IGNORECASE)
LIST_CHARS: Final = 420


class _Line(msgspec.Struct, frozen=True):
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    @property
    def indent(self) -> int:
        return len(self.text) - len(self.text.lstrip(" \t"))


class _Block(msgspec.Struct, frozen=True):
    kind: Literal["prose", "item", "row", "header", "code", "heading", "signature"]
    lines: tuple[_Line, ...]

    @property
    def start(self) -> int:
        return self.lines[0].start

    @property
    def end(self) -> int:
        return self.lines[-1].end


def cut(text: str) -> list[tuple[int, int]]:
    """[start, end) of each sentence of running prose; a sentence keeps the [n] marks behind it. A line break ends one too."""
    spans: list[tuple[int, int]] = []
    for line in re.finditer(r"[^\n]+", text):
        begin = line.start()
        for stop in (*_stops(text, line.start(), line.end()), line.end()):
            piece = text[begin:stop]
            if piece.strip():
                lead = len(piece) - len(piece.lstrip())
                spans.append((begin + lead, begin + len(piece.rstrip())))
            begin = stop
    return spans


def split(text: str, kind: str = "text") -> list[Sentence]:
    """The sentences of a passage of this chunk kind. Headings, rules and code are none; `whole` tells a cut-off one."""
    if kind == "table":
        return _table(text)
    found: list[Sentence] = []
    blocks = list(_blocks(text))
    header: tuple[str, ...] = ()
    position = 0
    while position < len(blocks):
        block = blocks[position]
        taken = 1
        if block.kind == "prose":
            taken = _with_items(text, blocks, position, found)
        elif block.kind == "item":
            found.append(_one(text, block.start, block.end, "item", _item_text(text, block)))
        elif block.kind == "header":
            header = _cells(block)
        elif block.kind == "row":
            found.extend(_row(text, block, header))
        elif block.kind == "signature":
            taken = _entry(text, blocks, position, found)
        position += taken
    return [s for s in found if s.text]


def _table(text: str) -> list[Sentence]:
    """A chunk of kind `table`: a header line, then a row a line, cells parted by ` | `."""
    lines = [line for line in _lines(text) if line.text.strip()]
    if len(lines) < 2:
        return []
    header = tuple(c.strip() for c in lines[0].text.split(" | "))
    return [s for line in lines[1:] for s in _row(text, _Block("row", (line,)), header, " | ")]


def flat(text: str) -> str:
    """One line, as it is read: help text's leading bars and hand-made line breaks gone."""
    lines = [_PIPE.sub("", line) for line in text.split("\n")]
    return _SPACE.sub(" ", " ".join(lines)).strip()


def whole(sentence: Sentence) -> bool:
    """Does it begin and end as a sentence does?"""
    text = sentence.text
    if sentence.kind != "prose":
        return True
    return bool(re.search(r"[.!?…。！？][\"'”’»)\]*_`]*$", text)) and (
        _OPENS.match(text) is not None
        or re.match(r"[\w.]+\(|[a-z_]+\.[a-z_]|[a-z]+ (?:is|are|was|returns?)\b", text) is not None
    )


def _stops(text: str, start: int, end: int) -> Iterator[int]:
    for match in _END.finditer(text, start, end):
        rest = text[match.end() : end]
        if not rest.strip():
            continue
        spaced = match.start() > start and text[match.start() - 1] == " "
        before = text[max(start, match.start() - 24) : match.start() + 1]
        if spaced or (_OPENS.match(rest) and not _abbreviated(before, match.group()) and not _numbered(before, rest)):
            yield match.end()


def _numbered(before: str, rest: str) -> bool:
    """No. 5: an abbreviation only before a number."""
    return re.search(r"\b[Nn]o\.$", before) is not None and rest.lstrip()[:1].isdigit()


def _abbreviated(before: str, mark: str) -> bool:
    return mark.startswith(".") and _ABBREVIATION.search(before) is not None


def _one(text: str, start: int, end: int, kind: Kind, shown: str | None = None) -> Sentence:
    piece = text[start:end]
    lead = len(piece) - len(piece.lstrip())
    return Sentence(shown if shown is not None else flat(piece), start + lead, start + len(piece.rstrip()), kind)


def _prose(text: str, block: _Block) -> list[Sentence]:
    """Line breaks inside a paragraph are the wrapper's, not the writer's."""
    joined = text[block.start : block.end].replace("\n", " ")
    found = []
    begin = 0
    for stop in (*_stops(joined, 0, len(joined)), len(joined)):
        if joined[begin:stop].strip(" |"):
            found.append(_one(text, block.start + begin, block.start + stop, "prose"))
        begin = stop
    return found


def _with_items(text: str, blocks: list[_Block], position: int, found: list[Sentence]) -> int:
    """A paragraph, or one that ends in a colon joined with the short list it leads into. Says how many blocks it took."""
    block = blocks[position]
    sentences = _prose(text, block)
    items = []
    for follower in blocks[position + 1 :]:
        if follower.kind != "item":
            break
        items.append(follower)
    if not items or not sentences or not sentences[-1].text.endswith(":"):
        found.extend(sentences)
        return 1
    lead = sentences[-1]
    if items[-1].end - lead.start > LIST_CHARS:
        found.extend(sentences[:-1])
        return 1
    shown = lead.text + " " + "; ".join(_item_text(text, i).rstrip(";.,") for i in items) + "."
    found.extend([*sentences[:-1], _one(text, lead.start, items[-1].end, "item", shown)])
    return 1 + len(items)


def _item_text(text: str, block: _Block) -> str:
    return flat(_BULLET.sub("", text[block.start : block.end], count=1))


def _row(text: str, block: _Block, header: tuple[str, ...], bar: str = "|") -> list[Sentence]:
    """The first cell names the row; the others follow, each with its column's name where the table has a header."""
    cells = _cells(block, bar)
    if len(header) != len(cells):
        header = ("",) * len(cells)
    pairs = [(h, c) for h, c in zip(header, cells, strict=True) if c and not re.fullmatch(r"(?:\(\d+\))+", c)]
    if len(pairs) < 2:
        return []
    named = len(cells) > 2 and not _ROW_NUMBERED.match(header[-1])
    shown = [f"{h} {c}" if h and named else c for h, c in pairs[1:]]
    return [_one(text, block.start, block.end, "row", f"{pairs[0][1]}: {', '.join(shown)}")]


def _cells(block: _Block, bar: str = "|") -> tuple[str, ...]:
    """A row may stand on several lines; the pieces of one column belong together."""
    cells: list[list[str]] = []
    for line in block.lines:
        for column, part in enumerate(p.strip() for p in line.text.strip().strip("|").split(bar)):
            if column == len(cells):
                cells.append([])
            cells[column].append(part)
    return tuple(" ".join(p for p in c if p) for c in cells)


def _entry(text: str, blocks: list[_Block], position: int, found: list[Sentence]) -> int:
    """A signature and the first sentence of the description indented below it."""
    block = blocks[position]
    if position + 1 >= len(blocks):
        return 1
    follower = blocks[position + 1]
    if follower.kind != "prose" or _depth(follower.lines[0]) <= _depth(block.lines[0]):
        return 1
    sentences = _prose(text, follower)
    first = sentences[0]
    shown = f"{flat(text[block.start : block.end])}: {first.text}"
    found.append(_one(text, block.start, first.end, "entry", shown))
    found.extend(sentences[1:])
    return 2


def _depth(line: _Line) -> int:
    bare = _PIPE.sub(lambda m: " " * len(m.group()), line.text)
    return len(bare) - len(bare.lstrip())


def _blocks(text: str) -> Iterator[_Block]:
    """Paragraphs and their like, in order."""
    gathered: list[_Line] = []
    fenced = False
    for line in _lines(text):
        bare = _PIPE.sub("", line.text).strip()
        if bare.startswith("```"):
            yield from _closed(gathered)
            gathered, fenced = [], not fenced
        elif fenced:
            continue
        elif not bare:
            yield from _closed(gathered)
            gathered = []
        elif _RULE.match(line.text) and not re.search(r"\w", line.text):
            yield from _closed(gathered, rule=line.text.strip())
            gathered = []
        else:
            if gathered and _breaks(gathered, line):
                yield from _closed(gathered)
                gathered = []
            gathered.append(line)
    yield from _closed(gathered)


def _lines(text: str) -> Iterator[_Line]:
    at = 0
    for line in text.split("\n"):
        yield _Line(line, at)
        at += len(line) + 1


def _breaks(gathered: list[_Line], line: _Line) -> bool:
    """Does this line begin something new though no blank line is between?"""
    last = gathered[-1]
    is_row, was_row = _ROW.match(line.text) is not None, _ROW.match(last.text) is not None
    if is_row != was_row:
        return True
    if is_row:
        return False
    if _BULLET.match(line.text) or (_SIGNATURE.match(_bare(last)) and len(gathered) == 1):
        return True
    if _SIGNATURE.match(_bare(line)) and _depth(line) < _depth(last):
        return True
    return _bare(line).startswith("#") or _bare(last).startswith("#")


def _bare(line: _Line) -> str:
    return _PIPE.sub("", line.text).strip()


def _closed(lines: list[_Line], *, rule: str = "") -> Iterator[_Block]:
    if not lines:
        return
    if _ROW.match(lines[0].text):
        yield from _rows(lines, rule)
    else:
        yield _Block(_sort(lines, ruled=bool(rule)), tuple(lines))


def _rows(lines: list[_Line], rule: str) -> Iterator[_Block]:
    """Between two rules of a grid is one row; in a plain table each line is one. A header stands above `|---|` or `===`."""
    if rule.startswith("|") or "=" in rule:
        yield _Block("header", tuple(lines))
    elif rule:
        yield _Block("row", tuple(lines))
    else:
        rows: list[list[_Line]] = []
        for line in lines:
            if rows and not line.text.strip().strip("|").split("|")[0].strip():
                rows[-1].append(line)  # an empty first cell: the row above goes on
            else:
                rows.append([line])
        for row in rows:
            yield _Block("row", tuple(row))


def _sort(lines: list[_Line], *, ruled: bool) -> Literal["prose", "item", "code", "heading", "signature"]:
    first = _bare(lines[0])
    if _BULLET.match(lines[0].text):
        return "item"
    if len(lines) == 1 and _SIGNATURE.match(first):
        return "signature"
    if sum(_CODE.match(_PIPE.sub("", line.text)) is not None for line in lines) * 2 >= len(lines):
        return "code"
    if first.startswith("#") or (ruled and len(lines) == 1):
        return "heading"
    if len(lines) == 1 and len(first) < 80 and not re.search(r"[.!?:;…。][\"'”’)\]]*$", first) and ": " not in first:
        return "heading"
    return "prose"
