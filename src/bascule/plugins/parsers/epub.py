"""E-books (EPUB 2 and 3): the chapters in the order of the spine, each read as a page of HTML."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections import Counter
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from bascule.core.errors import IngestError
from bascule.core.parsing import Block, ParsedDocument, Parser
from bascule.plugins.parsers._archives import check_archive, resolve
from bascule.plugins.parsers._html import HtmlParser
from bascule.plugins.parsers._xml import name as name_of
from bascule.plugins.parsers._xml import tree

_CONTAINER: Final = "META-INF/container.xml"
_ENCRYPTION: Final = "META-INF/encryption.xml"
_DAMAGED: Final = (
    KeyError, ValueError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error, OSError,
)  # fmt: skip


class EpubParser:
    def parse(self, data: bytes, name: str) -> ParsedDocument:
        try:
            check_archive(data, "e-book", doctypes=True)
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                return _read(archive)
        except RecursionError:
            raise IngestError("The e-book is nested too deeply to be read.", reason="damaged") from None
        except _DAMAGED:
            raise IngestError("The e-book is damaged. Export it again as .epub.", reason="damaged") from None


def _read(archive: zipfile.ZipFile) -> ParsedDocument:
    package = next(
        (e.get("full-path") for e in tree(archive.read(_CONTAINER), "e-book").iter() if name_of(e) == "rootfile"), ""
    )
    if not package:
        raise IngestError("The e-book does not say where its text is. Export it again.", reason="damaged")
    root = tree(archive.read(package), "e-book")
    chapters = _spine(root, package)
    _check_readable(archive, set(chapters))
    removed: Counter[str] = Counter()
    blocks: list[Block] = []
    names = set(archive.namelist())
    for page, chapter in enumerate(chapters, 1):
        if chapter in names:
            blocks += _chapter(archive.read(chapter), page, removed)
    if not blocks:
        raise IngestError("The e-book shows no text; it may hold pictures of pages only.", reason="empty")
    title = next((" ".join((e.text or "").split()) for e in root.iter() if name_of(e) == "title"), "")
    return ParsedDocument(title=title, blocks=tuple(blocks), removed=dict(removed))


def _spine(root: Any, package: str) -> list[str]:
    """The chapters' names within the archive, in reading order."""
    items: dict[str, str] = {}
    order: list[str] = []
    for element in root.iter():
        kind = name_of(element)
        if kind == "item" and "html" in (element.get("media-type") or ""):
            items[element.get("id") or ""] = resolve(package, unquote(element.get("href") or ""))
        elif kind == "itemref":
            order.append(element.get("idref") or "")
    return list(dict.fromkeys(items[found] for found in order if found in items))


def _check_readable(archive: zipfile.ZipFile, chapters: set[str]) -> None:
    """Fonts may be scrambled, chapters may not: then the book is under copy protection."""
    if _ENCRYPTION not in archive.namelist():
        return
    for element in tree(archive.read(_ENCRYPTION), "e-book").iter():
        if name_of(element) == "CipherReference" and unquote(element.get("URI") or "") in chapters:
            raise IngestError(
                "The e-book is encrypted (copy protection). Send a copy without protection.", reason="encrypted"
            )


def _chapter(data: bytes, page: int, removed: Counter[str]) -> list[Block]:
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8"  # the only two that EPUB allows
    try:
        found = HtmlParser().parse(data.decode(encoding, "replace").encode(), "")
    except IngestError:
        return []  # a cover: a picture and no text
    removed.update(found.removed)
    return [msgspec.structs.replace(block, page=page) for block in found.blocks]


parser: Parser = EpubParser()
