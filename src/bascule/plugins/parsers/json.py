"""JSON and JSON lines as a reader would lay them out: records as a table, fields as `name: value`, nested parts under headings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from bascule.core.errors import IngestError
from bascule.core.parsing import Block, ParsedDocument, Parser
from bascule.plugins.parsers._tables import table

_MAX_DEPTH: Final = 60
_MAX_COLUMNS: Final = 100
_NAMES: Final = ("title", "name", "label", "heading", "subject", "id")  # a record's own name, the first that is there


class JsonParser:
    def parse(self, data: bytes, name: str) -> ParsedDocument:
        value = _read(data)
        try:
            blocks = tuple(_blocks(value, "", 1, 0))
        except RecursionError:
            raise IngestError("The JSON is nested too deeply to be read.", reason="damaged") from None
        if not blocks:
            raise IngestError("The JSON holds no text. Check the export that made it.", reason="empty")
        title = _own_name(value) if isinstance(value, dict) else ""
        return ParsedDocument(title=title, blocks=blocks)


def _read(data: bytes) -> Any:
    text = data.removeprefix(b"\xef\xbb\xbf").strip()
    if not text:
        raise IngestError("The file is empty. Check the export that made it.", reason="empty")
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return [msgspec.json.decode(line) for line in text.splitlines() if line.strip()]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise IngestError(
            "This is neither JSON nor JSON lines (one value on each line). Export it again.", reason="damaged"
        ) from None


def _blocks(value: Any, heading: str, level: int, depth: int) -> Iterator[Block]:
    if depth > _MAX_DEPTH:
        raise RecursionError
    body = list(_of_list(value, level, depth) if isinstance(value, list) else _of_object(value, level, depth))
    if body and heading:
        yield Block(kind="heading", text=heading, level=min(level - 1, 6) or 1)
    yield from body


def _of_object(value: Any, level: int, depth: int) -> Iterator[Block]:
    if not isinstance(value, dict):
        text = _scalar(value)
        if text:
            yield Block(kind="paragraph", text=text)
        return
    lines: list[str] = []
    for key, part in value.items():
        if isinstance(part, dict | list) and not _is_short(part):
            if lines:
                yield Block(kind="paragraph", text="\n".join(lines))
                lines = []
            yield from _blocks(part, _words(key), level + 1, depth + 1)
        elif text := _scalar(part):
            lines.append(f"{_words(key)}: {text}")
    if lines:
        yield Block(kind="paragraph", text="\n".join(lines))


def _of_list(values: Sequence[Any], level: int, depth: int) -> Iterator[Block]:
    if values and all(isinstance(v, dict) and _is_flat(v) for v in values):
        columns = list(dict.fromkeys(key for record in values for key in record))
        if len(columns) <= _MAX_COLUMNS and len(values) > 1:
            rows = [[_words(c) for c in columns], *([_scalar(r.get(c)) for c in columns] for r in values)]
            if any(any(row) for row in rows[1:]):
                yield table(rows, header=True)
            return
    if values and not any(isinstance(v, dict | list) for v in values):
        lines = [f"- {text}" for text in map(_scalar, values) if text]
        if lines:
            yield Block(kind="list", text="\n".join(lines))
        return
    for number, value in enumerate(values, 1):
        own = _own_name(value) if isinstance(value, dict) else ""
        yield from _blocks(value, own or f"{number}", level + 1, depth + 1)


def _is_flat(record: Mapping[str, Any]) -> bool:
    return all(not isinstance(part, dict | list) or _is_short(part) for part in record.values())


def _is_short(part: Any) -> bool:
    """A list of a few words, which reads best on one line."""
    return isinstance(part, list) and not any(isinstance(v, dict | list) for v in part) and len(_scalar(part)) <= 200


def _own_name(record: Mapping[str, Any]) -> str:
    found = next((record[key] for key in _NAMES if isinstance(record.get(key), str | int)), "")
    return " ".join(str(found).split())[:200]


def _scalar(value: Any) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(filter(None, map(_scalar, value)))
    return str(value).strip()


def _words(key: Any) -> str:
    return " ".join(str(key).replace("_", " ").split()) or "value"


parser: Parser = JsonParser()
