"""Manual pages, in man(7) and mdoc(7), for the reader of a terminal: sections, tagged lists, examples, tables of tbl(1)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from bascule.core.errors import IngestError
from bascule.core.parsing import Block, BlockKind, ParsedDocument, Parser
from bascule.plugins.parsers._mdoc import MDOC, inline
from bascule.plugins.parsers._roff import Line, Source

_BREAKS: Final = frozenset(
    {"PP", "P", "LP", "Pp", "sp", "br", "HP", "Lp", "RS", "RE", "Sp", "YS", "UE", "Rs", "Re", "Ed", "El", "bp"}
)
_CODE_BEGINS: Final = frozenset({"nf", "EX", "Vb", "Bd", "DS", "CS"})
_CODE_ENDS: Final = frozenset({"fi", "EE", "Ve", "Ed", "DE", "CE"})
_FONTS: Final = frozenset({"B", "I", "SM", "SB", "R", "CW"})
_MIXED_FONTS: Final = frozenset({"BR", "RB", "IB", "BI", "IR", "RI"})
_TABLE_FORMAT_END: Final = re.compile(r"\.\s*\Z")
_RULE: Final = re.compile(r"[_=\s]*\Z")


class ManParser:
    def parse(self, data: bytes, name: str) -> ParsedDocument:
        text = data.decode("utf-8", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
        source = Source(text)
        page = _Page(source)
        for line in source:
            page.take(line)
        page.end()
        if not page.blocks:
            where = f" It only points to {page.elsewhere}: send that page." if page.elsewhere else ""
            raise IngestError(f"The manual page has no text in it.{where}", reason="empty")
        return ParsedDocument(title=page.title, blocks=tuple(page.blocks), removed=dict(source.removed))


class _Page:
    """Collects lines into blocks. `_tag` waits for the text it belongs to."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lines: list[str] = []
        self._kind: BlockKind = "paragraph"
        self._tag: str | None = None
        self._next: Callable[[str], None] | None = None  # who takes the next line of text
        self._table: list[str] | None = None
        self._name = ""
        self._section = ""
        self.blocks: list[Block] = []
        self.title = ""
        self.elsewhere = ""

    def take(self, line: Line) -> None:
        if self._table is not None:
            self._take_table(line)
        elif not line.request:
            self._text(self._source.plain(line.rest))
        elif line.request in _CODE_BEGINS and not (line.request == "Bd" and "-filled" in line.rest):
            self._flush("code")
        elif line.request in _CODE_ENDS:
            self._flush()
        elif line.request in _BREAKS:
            self._break(line.request)
        else:
            self._macro(line.request, self._source.arguments(line.rest))

    def end(self) -> None:
        if self._table is not None:
            self._end_table()
        self._flush()

    def _text(self, text: str) -> None:
        if self._kind != "code" and not text.strip():
            self._flush()
            return
        if self._next is not None:
            taker, self._next = self._next, None
            taker(text.strip())
            return
        if self._kind != "code" and text[:1] in (" ", "\t") and self._lines:
            text = "\n" + text.strip()
        self._lines.append(text)

    def _break(self, request: str) -> None:
        if self._kind == "code":
            self._lines.append("")
        elif request == "br" and self._lines:
            self._lines.append("\n")
        elif request != "br":
            self._flush()

    def _macro(self, name: str, arguments: list[str]) -> None:
        if name in ("SH", "SS", "Sh", "Ss"):
            self._flush()
            level = 1 if name in ("SH", "Sh") else 2
            self._or_next(lambda text: self._heading(text, level), arguments)
        elif name in _FONTS:
            self._or_next(self._text, arguments)
        elif name in _MIXED_FONTS:
            self._text("".join(arguments))
        elif name in ("TP", "TQ", "IP", "It"):
            self._item(name, arguments)
        elif name in MDOC:
            self._mdoc(name, arguments)
        else:
            self._other(name, arguments)

    def _item(self, name: str, arguments: list[str]) -> None:
        self._flush("list")
        if name in ("TP", "TQ"):
            self._next = self._set_tag
        else:
            self._set_tag(inline(arguments, self._name) if name == "It" else " ".join(arguments[:1]))

    def _other(self, name: str, arguments: list[str]) -> None:
        if name in ("TH", "Dt"):
            self.title = (
                f"{arguments[0].lower() if name == 'Dt' else arguments[0]}({arguments[1]})"
                if len(arguments) > 1
                else ""
            )
        elif name == "TS":
            self._flush()
            self._table = []
        elif name == "so":
            self.elsewhere = " ".join(arguments)
        elif name in ("UR", "MT", "SY", "OP"):
            self._text(f"[{' '.join(arguments)}]" if name == "OP" else " ".join(arguments))

    def _mdoc(self, name: str, arguments: list[str]) -> None:
        if name == "Nm" and arguments and not self._name:
            self._name = arguments[0]
        if name == "Nm" and self._section == "SYNOPSIS":
            self._flush()  # each way to call it stands for itself
        if name in ("Dl", "D1"):
            self._flush("code")
            self._text(inline(arguments, self._name))
            self._flush()
        else:
            self._text(inline([name, *arguments], self._name))

    def _or_next(self, taker: Callable[[str], None], arguments: list[str]) -> None:
        if arguments:
            taker(" ".join(arguments))
        else:
            self._next = taker

    def _heading(self, text: str, level: int) -> None:
        self._section = text.strip().upper()
        if text.strip():
            self.blocks.append(Block(kind="heading", text=text.strip(), level=level))

    def _set_tag(self, text: str) -> None:
        self._tag = text.strip() or None

    def _flush(self, then: BlockKind = "paragraph") -> None:
        if self._kind == "code":
            text = "\n".join(self._lines).strip("\n")
        else:
            text = re.sub(r" *\n *", "\n", " ".join(self._lines)).strip()
        if self._tag is not None:
            bullet = self._tag in ("•", "-", "*", "o", "–", "—")
            text = f"{self._tag} {text}" if bullet else f"{self._tag}\n{text}" if text else self._tag
        if text.strip():
            self.blocks.append(Block(kind=self._kind, text=text))
        self._lines, self._tag, self._kind, self._next = [], None, then, None

    def _take_table(self, line: Line) -> None:
        assert self._table is not None
        if line.request == "TE":
            self._end_table()
        elif not line.request:
            self._table.append(line.rest)
        elif line.request in _FONTS | _MIXED_FONTS:
            self._table.append(" ".join(self._source.arguments(line.rest)))

    def _end_table(self) -> None:
        lines, self._table = self._table or [], None
        first = next((n for n, line in enumerate(lines) if _TABLE_FORMAT_END.search(line)), -1)
        mark = re.search(r"tab\s*\(\s*(.)\s*\)", lines[0]) if lines else None
        rows = _rows("\n".join(lines[first + 1 :]), mark.group(1) if mark else "\t", self._source)
        width = max(map(len, rows), default=0)
        if width > 1:
            even = tuple(tuple(row + [""] * (width - len(row))) for row in rows)
            text = "\n".join(" | ".join(row) for row in even)
            self.blocks.append(Block(kind="table", text=text, rows=even))
        else:
            for row in rows:
                self._lines += [cell for cell in row if cell]
            self._flush()


def _rows(text: str, mark: str, source: Source) -> list[list[str]]:
    """Of tbl's data: `T{` and `T}` hold a cell of several lines together."""
    text = re.sub(
        r"T\{\n(.*?)\n?T\}", lambda m: m.group(1).replace("\n", " ").replace(mark, " "), text, flags=re.DOTALL
    )
    lines = [line for line in text.split("\n") if line.strip() and not _RULE.match(line)]
    rows = [[" ".join(source.plain(cell).split()) for cell in line.split(mark)] for line in lines]
    return [row for row in rows if any(row)]


parser: Parser = ManParser()
