"""Filters over what documents say of themselves: frozen values, and their meaning. `core.filter_grammar` reads them from JSON.

A filter is true or false of a document, never unknown: a field that is missing has no values, and a test needs one that passes.
A field with several values (a list) passes when any of them does. Values of different kinds (text, number, true or false) are
never equal, and neither is before the other. Text compares by code points, so ISO 8601 dates of one form compare as in time.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import msgspec

Value = str | int | float | bool
Op = Literal["eq", "lt", "lte", "gt", "gte"]
OWN: Final = "metadata."  # before the name of a field of the document's own metadata
LANGUAGE: Final = "lang"
FOLDER: Final = "folder"
INSTANTS: Final = frozenset({"created_at", "updated_at"})
TEXTS: Final = frozenset({"source", "name", "title", "type", "external_id"}) | INSTANTS
_COMPARE: Final[Mapping[Op, Callable[[Any, Any], bool]]] = {
    "eq": operator.eq,
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}


class Compared(msgspec.Struct, frozen=True, tag="test"):
    field: str
    op: Op
    value: Value


class OneOf(msgspec.Struct, frozen=True, tag="in"):
    field: str
    values: tuple[Value, ...]


class Present(msgspec.Struct, frozen=True, tag="exists"):
    """Has a value that is not null; an empty list is one."""

    field: str


class Every(msgspec.Struct, frozen=True, tag="and"):
    parts: tuple[Filter, ...] = ()


class AnyOf(msgspec.Struct, frozen=True, tag="or"):
    parts: tuple[Filter, ...]


class Without(msgspec.Struct, frozen=True, tag="not"):
    part: Filter


Filter = Compared | OneOf | Present | Every | AnyOf | Without
EVERYTHING: Final = Every()


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a filter can ask of a document. `language`: as found in its text, where its own metadata does not say."""

    source: str = ""
    external_id: str = ""
    name: str = ""
    title: str = ""
    media_type: str = ""
    created_at: str = ""
    updated_at: str = ""
    language: str | None = None
    metadata: Mapping[str, Any] = {}

    def raw(self, field: str) -> Any:
        """The value of a field other than the folder; None where there is none."""
        if field.startswith(OWN):
            return self.metadata.get(field.removeprefix(OWN))
        if field == LANGUAGE:
            own = self.metadata.get(LANGUAGE)
            return self.language if own is None else own
        return self.media_type if field == "type" else getattr(self, field)

    def values(self, field: str) -> list[Any]:
        if field == FOLDER:
            return [self.external_id[:at] for at, char in enumerate(self.external_id) if char == "/"]
        raw = self.raw(field)
        return list(raw) if isinstance(raw, list | tuple) else [raw]


def matches(wanted: Filter, facts: Facts) -> bool:
    if isinstance(wanted, Every):
        return all(matches(part, facts) for part in wanted.parts)
    if isinstance(wanted, AnyOf):
        return any(matches(part, facts) for part in wanted.parts)
    if isinstance(wanted, Without):
        return not matches(wanted.part, facts)
    if isinstance(wanted, Present):
        return bool(facts.values(FOLDER)) if wanted.field == FOLDER else facts.raw(wanted.field) is not None
    if isinstance(wanted, OneOf):
        return any(_holds(value, "eq", own) for own in wanted.values for value in facts.values(wanted.field))
    return any(_holds(value, wanted.op, wanted.value) for value in facts.values(wanted.field))


def _holds(value: Any, op: Op, wanted: Value) -> bool:
    """1 is not true, as in JSON; true is not before or after anything."""
    if isinstance(value, bool) or isinstance(wanted, bool):
        return op == "eq" and value is wanted
    kind = str if isinstance(wanted, str) else (int, float)
    return isinstance(value, kind) and _COMPARE[op](value, wanted)
