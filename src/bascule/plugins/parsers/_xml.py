"""XML read so that nothing is fetched and nothing expands: no entities, no DTD, no network."""

from __future__ import annotations

from typing import Any, Final

from lxml import etree  # type: ignore[import-untyped]

from bascule.core.errors import IngestError

_OF_IDS: Final = frozenset(["DTD_XMLID_VALUE", "DTD_ID_REDEFINED"])  # no name, or twice the same


def tree(data: bytes, what: str, *, encoding: str | None = None) -> Any:
    """The root element. `encoding` overrides what the file declares. Raises IngestError (damaged, hostile)."""
    if b"<!ENTITY" in data.replace(b"\0", b""):
        raise IngestError(f"The {what} declares entities: it was not opened. Save it without them.", reason="hostile")
    strict = _parser(encoding)
    try:
        return etree.fromstring(data, strict)
    except (etree.XMLSyntaxError, ValueError) as error:
        root = _read_leniently(data, encoding) if _is_harmless(strict) else None
        if root is not None:
            return root
        line = getattr(error, "lineno", None)
        where = f" (line {line})" if line else ""
        raise IngestError(f"The {what} is not well-formed XML{where}. Export it again.", reason="damaged") from None


def _parser(encoding: str | None, *, recover: bool = False) -> Any:
    return etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True,
        encoding=encoding, recover=recover,
    )  # fmt: skip


def _is_harmless(parser: Any) -> bool:
    """Whether all that is wrong are its `xml:id`s: well-formed XML, of which nothing that is read here is missing."""
    found = {entry.type_name for entry in parser.error_log}
    return bool(found) and found <= _OF_IDS


def _read_leniently(data: bytes, encoding: str | None) -> Any:
    """None when there was more to forgive than `xml:id`s."""
    parser = _parser(encoding, recover=True)
    root = etree.fromstring(data, parser)
    return root if _is_harmless(parser) else None


def name(element: Any) -> str:
    """The element's name without its namespace."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""
