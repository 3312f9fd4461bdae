"""XML read so that nothing is fetched and nothing expands: no entities, no DTD, no network."""

from __future__ import annotations

from typing import Any

from lxml import etree  # type: ignore[import-untyped]

from bascule.core.errors import IngestError


def tree(data: bytes, what: str, *, encoding: str | None = None) -> Any:
    """The root element. `encoding` overrides what the file declares. Raises IngestError (damaged, hostile)."""
    if b"<!ENTITY" in data.replace(b"\0", b""):
        raise IngestError(f"The {what} declares entities: it was not opened. Save it without them.", reason="hostile")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True,
        encoding=encoding,
    )  # fmt: skip
    try:
        return etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        where = f" (line {line})" if line else ""
        raise IngestError(f"The {what} is not well-formed XML{where}. Export it again.", reason="damaged") from None


def name(element: Any) -> str:
    """The element's name without its namespace."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""
