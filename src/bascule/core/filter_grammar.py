"""The JSON form of filters, read into the values of `core.filters`. Nothing else of what was sent is ever used.

filter  {field: test, ...}           all of them
        {"and": [filter, ...]}       all; {"or": [filter, ...]} any; {"not": filter} not; beside fields, too
test    value                        the same as {"eq": value}
        {operator: value, ...}       all of them
operators: eq, ne, lt, lte, gt, gte with a value; in with a list of values; exists with true or false

A field is `source`, `folder` (also of what lies below it), `name`, `title`, `type`, `external_id`, `lang`, `created_at`,
`updated_at`, or any other name for the document's own metadata (`metadata.NAME`, where one of these is in the way). Whatever a
filter asks, an error tells of its form alone, never of documents: a field that no document has is not an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, Never

from bascule.core.errors import InvalidRequest
from bascule.core.filters import (
    FOLDER,
    INSTANTS,
    LANGUAGE,
    OWN,
    TEXTS,
    AnyOf,
    Compared,
    Every,
    Filter,
    OneOf,
    Op,
    Present,
    Value,
    Without,
)

MAX_DEPTH: Final = 6
MAX_TESTS: Final = 50
MAX_VALUES: Final = 100
MAX_TEXT: Final = 1000
MAX_WHOLE: Final = 2**53  # beyond it engines no longer agree what equal is
_FIELD: Final = re.compile(r"[\w@][\w .:/@+\-]{0,99}")
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_ORDERED: Final[Mapping[str, Op]] = {"eq": "eq", "lt": "lt", "lte": "lte", "gt": "gt", "gte": "gte"}
_JOINTS: Final = frozenset({"and", "or", "not"})
_NAMES: Final = TEXTS | {FOLDER, LANGUAGE}


def read_filter(given: Any, param: str = "filter") -> Filter:
    """Raises InvalidRequest."""
    return _Reader(param).filter(given, 1)


class _Reader:
    """One reading, which counts its tests."""

    def __init__(self, param: str) -> None:
        self._param = param
        self._tests = 0

    def filter(self, given: Any, depth: int) -> Filter:
        if not isinstance(given, Mapping):
            self._refuse("A filter is an object.")
        if depth > MAX_DEPTH:
            self._refuse(f"A filter is nested at most {MAX_DEPTH} deep.")
        parts = [self._part(name, value, depth) for name, value in given.items()]
        return parts[0] if len(parts) == 1 else Every(tuple(parts))

    def _part(self, name: Any, value: Any, depth: int) -> Filter:
        if name not in _JOINTS:
            return self._field(self._named(name), value)
        if name == "not":
            return Without(self.filter(value, depth + 1))
        if not isinstance(value, list | tuple) or not value:
            self._refuse(f"`{name}` takes a list of filters.")
        parts = tuple(self.filter(one, depth + 1) for one in value)
        return Every(parts) if name == "and" else AnyOf(parts)

    def _named(self, name: Any) -> str:
        """The field as a filter holds it: built in, or of the document's own metadata."""
        if name in _NAMES:
            return str(name)
        if name == "language":
            return LANGUAGE
        own = name.removeprefix(OWN) if isinstance(name, str) else ""
        if not _FIELD.fullmatch(own):
            self._refuse("A field is named with letters, digits, spaces and _ . : / @ + -, at most 100 of them.")
        return OWN + own

    def _field(self, field: str, given: Any) -> Filter:
        tests = given if isinstance(given, Mapping) else {"eq": given}
        if not tests:
            self._refuse("A field's test names an operator.")
        parts = [self._test(field, op, value) for op, value in tests.items()]
        return parts[0] if len(parts) == 1 else Every(tuple(parts))

    def _test(self, field: str, op: Any, given: Any) -> Filter:
        self._tests += 1
        if self._tests > MAX_TESTS:
            self._refuse(f"A filter has at most {MAX_TESTS} tests.")
        if op == "exists":
            if not isinstance(given, bool):
                self._refuse("`exists` takes true or false.")
            return Present(field) if given else Without(Present(field))
        if op == "in":
            return self._in(field, given)
        if op == "ne":
            return Without(self._compared(field, "eq", given))
        if op not in _ORDERED:
            self._refuse("The operators are eq, ne, in, lt, lte, gt, gte and exists.")
        return self._compared(field, _ORDERED[op], given)

    def _in(self, field: str, given: Any) -> Filter:
        if not isinstance(given, list | tuple) or not 1 <= len(given) <= MAX_VALUES:
            self._refuse(f"`in` takes a list of 1 to {MAX_VALUES} values.")
        if field in INSTANTS:
            return AnyOf(tuple(self._compared(field, "eq", one) for one in given))
        return OneOf(field, tuple(self._value(field, one) for one in given))

    def _compared(self, field: str, op: Op, given: Any) -> Filter:
        value = self._value(field, given)
        if field in INSTANTS:
            return _instant(field, op, str(value), self._refuse)
        if op != "eq" and (field == FOLDER or isinstance(value, bool)):
            self._refuse(f"`{op}` takes text or a number, and not for a folder.")
        return Compared(field, op, value)

    def _value(self, field: str, given: Any) -> Value:
        if isinstance(given, str):
            value = given.rstrip("/") if field == FOLDER else given
            if len(given) > MAX_TEXT or (not value and field == FOLDER) or not _storable(given):
                self._refuse(f"A filter's text has at most {MAX_TEXT} characters, and no NUL.")
            return value
        if field in _NAMES - {LANGUAGE}:
            self._refuse("This field is text.")
        if isinstance(given, bool):
            return given
        if isinstance(given, int | float) and abs(given) <= MAX_WHOLE and math.isfinite(given):
            return given
        self._refuse("A filter's value is text, a number up to 2^53, true or false.")

    def _refuse(self, what: str) -> Never:
        raise InvalidRequest(what, param=self._param)


def _storable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _instant(field: str, op: Op, text: str, refuse: Callable[[str], Never]) -> Filter:
    """Instants as the catalogue writes them. A day is all of it: `lte` a day means before the next one begins."""
    try:
        if not _DAY.fullmatch(text):
            return Compared(field, op, _written(datetime.fromisoformat(text)))
        first = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
        begins, ends = _written(first), _written(first + timedelta(days=1))
    except (ValueError, OverflowError):
        refuse("A date is written as 2026-01-31 or 2026-01-31T12:00:00Z.")
    if op == "eq":
        return Every((Compared(field, "gte", begins), Compared(field, "lt", ends)))
    return {
        "lt": Compared(field, "lt", begins),
        "gte": Compared(field, "gte", begins),
        "lte": Compared(field, "lt", ends),
        "gt": Compared(field, "gte", ends),
    }[op]


def _written(at: datetime) -> str:
    utc = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return utc.isoformat(timespec="milliseconds").replace("+00:00", "Z")
