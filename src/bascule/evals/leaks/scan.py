"""Canaries in bytes: as they are, in another case, escaped, torn over the events of a stream, or within base64."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote_to_bytes

_CANARY: Final = re.compile(rb"zq[0-9a-f]{16}")
_LONG_RUN: Final = re.compile(rb"[A-Za-z0-9+/]{40}")  # base64 of less holds no canary


def leaks(payload: bytes, foreign: Mapping[str, str]) -> dict[str, str]:
    """Of the canaries in `foreign` (canary -> what it stands for), those that the payload shows."""
    shown = {word.decode() for view in _views(payload) for word in _CANARY.findall(view)}
    found = {word: foreign[word] for word in shown if word in foreign}
    if _LONG_RUN.search(payload):
        found.update((word, what) for word, what in foreign.items() if any(form in payload for form in _forms(word)))
    return found


def _views(payload: bytes) -> list[bytes]:
    lowered = payload.lower()
    found = [lowered]
    if b"%" in payload:
        found.append(unquote_to_bytes(lowered))
    if b"\\u" in payload or b"data:" in payload:
        found.extend(text.encode("utf-8", "replace").lower() for text in _joined(payload))
    return found


@lru_cache(8192)
def _forms(word: str) -> tuple[bytes, ...]:
    """What stands in base64 of a text that holds the word, wherever it begins there."""
    plain = word.encode()
    forms = []
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + plain).rstrip(b"=")
        forms.append(encoded[2 if shift == 1 else 3 if shift == 2 else 0 : -2])
    return tuple(forms)


def _joined(payload: bytes) -> list[str]:
    """The texts of a stream's events, put together place by place: a word torn over two events is whole again."""
    texts: dict[str, list[str]] = {}
    for line in payload.replace(b"\r\n", b"\n").split(b"\n"):
        body = line.removeprefix(b"data:").strip()
        if body[:1] in (b"{", b"["):
            try:
                _gather(json.loads(body), "", texts)
            except ValueError:
                continue
    return ["".join(parts) for parts in texts.values()]


def _gather(value: Any, place: str, texts: dict[str, list[str]]) -> None:
    if isinstance(value, str):
        texts.setdefault(place, []).append(value)
    elif isinstance(value, dict):
        for key, inner in value.items():
            texts.setdefault("keys", []).append(f"{key} ")
            _gather(inner, f"{place}.{key}", texts)
    elif isinstance(value, list):
        for inner in value:
            _gather(inner, place, texts)


def shape(value: Any) -> Any:
    """Keys and lengths of a JSON value without what they hold: what is left to tell by, when no word is shown."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in sorted(value.items())}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return type(value).__name__


def strings(value: Any, key: str) -> Iterable[str]:
    """Every string under `key`, anywhere in a JSON value."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == key and isinstance(inner, str):
                yield inner
            else:
                yield from strings(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner, key)
