"""XML of any kind: running text as paragraphs, fields as `name: value`, repeated flat records as a table.

Attributes are read only of elements that hold nothing else: elsewhere they say how the text is set, not what it says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from bascule.core.errors import IngestError
from bascule.core.parsing import Block, ParsedDocument, Parser
from bascule.plugins.parsers._tables import table
from bascule.plugins.parsers._xml import name as name_of
from bascule.plugins.parsers._xml import tree

_TITLES: Final = frozenset(["title", "head", "heading", "caption"])
_TEXT: Final = frozenset(["p", "para", "simpara"])
_MAX_COLUMNS: Final = 100
_MAX_DEPTH: Final = 200


class XmlParser:
    def parse(self, data: bytes, name: str) -> ParsedDocument:
        if not data.strip():
            raise IngestError("The file is empty. Check the export that made it.", reason="empty")
        root = tree(data, "file", encoding="utf-8")
        blocks = tuple(_blocks(root, 1))
        if not blocks:
            raise IngestError("The XML holds no text. Check the export that made it.", reason="empty")
        title = next((block.text for block in blocks if block.kind == "heading"), "")
        return ParsedDocument(title=title, blocks=blocks)


def _blocks(element: Any, depth: int) -> Iterator[Block]:
    if depth > _MAX_DEPTH:
        raise IngestError("The XML is nested too deeply to be read.", reason="damaged")
    children = [child for child in element if isinstance(child.tag, str)]
    if not children or _is_running(element, children):
        text = _squeeze("".join(element.itertext()))
        if not text and not children:
            text = "\n".join(f"{name}: {value}" for name, value in _attributes(element).items() if value)
        if text:
            yield Block(kind="paragraph", text=text)
        return
    if _are_records(children):
        yield from _table(children)
        return
    lines: list[str] = []
    for child in children:
        line = _line(child)
        if line:
            lines.append(line)
            continue
        yield from _paragraph(lines)
        lines = []
        text = _squeeze(child.text or "")
        if text and len(child) == 0:
            yield Block(kind="heading", text=text, level=min(depth, 6))
        else:
            yield from _blocks(child, depth + 1)
    yield from _paragraph(lines)


def _line(child: Any) -> str:
    """A field on one line, "" for what is none: a title, or what has parts of its own."""
    name = name_of(child).lower()
    text = _squeeze(child.text or "")
    if not text or name in _TITLES or any(isinstance(c.tag, str) for c in child):
        return ""
    return text if name in _TEXT else f"{name_of(child)}: {text}"


def _paragraph(lines: list[str]) -> Iterator[Block]:
    if lines:
        yield Block(kind="paragraph", text="\n".join(lines))


def _is_running(element: Any, children: list[Any]) -> bool:
    """Text with marked words in it, rather than fields one under the other."""
    return bool((element.text or "").strip() or any((child.tail or "").strip() for child in children))


def _are_records(children: list[Any]) -> bool:
    """Several of one name, each with single fields of text: in elements of its own, or in attributes where it has no others."""
    if len(children) < 2 or len({child.tag for child in children}) != 1:
        return False
    for record in children:
        fields = [field for field in record if isinstance(field.tag, str)]
        names = [field.tag for field in fields]
        if not (fields or record.attrib) or len(set(names)) != len(names) or len(names) > _MAX_COLUMNS:
            return False
        if _is_running(record, fields) or any(len(field) for field in fields):
            return False
    return True


def _fields(record: Any) -> dict[str, str]:
    fields = {name_of(field): _squeeze(field.text or "") for field in record if isinstance(field.tag, str)}
    return fields or _attributes(record)


def _attributes(element: Any) -> dict[str, str]:
    found = {str(name).rpartition("}")[2]: _squeeze(value) for name, value in element.attrib.items()}
    return dict(list(found.items())[:_MAX_COLUMNS])


def _table(records: list[Any]) -> Iterator[Block]:
    found = [fields for fields in map(_fields, records) if any(fields.values())]
    columns = list(dict.fromkeys(name for fields in found for name in fields))
    if found and 1 < len(columns) <= _MAX_COLUMNS:
        yield table([columns, *([fields.get(column, "") for column in columns] for fields in found)], header=True)
    else:
        for fields in found:
            yield Block(kind="paragraph", text="\n".join(f"{name}: {text}" for name, text in fields.items() if text))


def _squeeze(text: str) -> str:
    return " ".join(text.split())


parser: Parser = XmlParser()
