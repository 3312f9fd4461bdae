"""XML from a site, read by expat: no document type, so that no entity is ever declared or fetched; bounded in depth and size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from xml.parsers import expat

from bascule.core.errors import IngestError

MAX_DEPTH: Final = 64
MAX_NODES: Final = 300_000  # a sitemap holds 50,000 pages at most


class Node:
    """An element: its name without namespace, that namespace, attributes without theirs, text directly inside, children."""

    __slots__ = ("attributes", "children", "name", "namespace", "text")

    def __init__(self, name: str, namespace: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.namespace = namespace
        self.attributes = attributes
        self.text = ""
        self.children: list[Node] = []

    def all(self, name: str) -> Iterator[Node]:
        return (child for child in self.children if child.name == name)

    def first(self, *names: str) -> str:
        """The text of the first child with one of these names that has any; earlier names first."""
        for name in names:
            for child in self.all(name):
                if child.text.strip():
                    return child.text.strip()
        return ""


def read_xml(data: bytes) -> Node:
    """Raises IngestError for what is no XML, declares a document type, or is too deep or too large."""
    reader = _Reader()
    try:
        reader.parser.Parse(data, True)
    except (expat.ExpatError, LookupError, ValueError):
        raise unreadable("it is not well-formed XML") from None
    return reader.root.children[0]


def unreadable(why: str) -> IngestError:
    return IngestError(f"The site's listing cannot be read: {why}.", reason="invalid_answer")


class _Reader:
    def __init__(self) -> None:
        self.root = Node("", "", {})
        self._open = [self.root]
        self._texts: list[list[str]] = [[]]
        self._nodes = 0
        self.parser = expat.ParserCreate(namespace_separator="\n")
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters

    def _doctype(self, *_: object) -> None:
        raise unreadable("it declares a document type")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._nodes += 1
        if len(self._open) > MAX_DEPTH or self._nodes > MAX_NODES:
            raise unreadable("it is too large")
        namespace, _, name = tag.rpartition("\n")
        node = Node(
            name.lower(), namespace, {key.rpartition("\n")[2].lower(): value for key, value in attributes.items()}
        )
        self._open[-1].children.append(node)
        self._open.append(node)
        self._texts.append([])

    def _end(self, tag: str) -> None:
        self._open.pop().text = "".join(self._texts.pop())

    def _characters(self, text: str) -> None:
        self._texts[-1].append(text)
