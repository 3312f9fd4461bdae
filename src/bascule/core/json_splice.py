"""Small changes to a JSON body's bytes, so that all the rest of it goes on exactly as it came."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

_MODEL: Final = re.compile(rb'"model"\s*:\s*("(?:[^"\\]|\\.)*")')
# A key could be written with escapes, e.g. m as \u006d: then the plain search would miss it or find another.
_ESCAPED_LETTER: Final = re.compile(rb"\\u00[46]", re.IGNORECASE)


def with_model(body: bytes, view: Mapping[str, Any], model: str) -> bytes:
    """`body`, a JSON object parsed as `view`, with its top-level "model" set to `model`."""
    if view.get("model") == model:
        return body
    found = [m for _, m in zip(range(2), _MODEL.finditer(body), strict=False)]
    if len(found) == 1 and not _ESCAPED_LETTER.search(body):
        start, end = found[0].span(1)
        if msgspec.json.decode(body[start:end]) == view.get("model"):
            return body[:start] + msgspec.json.encode(model) + body[end:]
    return msgspec.json.encode({**view, "model": model})


def with_member(body: bytes, view: Mapping[str, Any], name: str, value: Any) -> bytes:
    """`body`, a JSON object that is not empty, with one more top-level member, or that member replaced."""
    if name in view or not view:
        return msgspec.json.encode({**msgspec.json.decode(body), name: value})
    end = body.rstrip()
    return end[:-1] + b"," + msgspec.json.encode(name) + b":" + msgspec.json.encode(value) + b"}"
