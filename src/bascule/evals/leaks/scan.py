"""Canaries in bytes: as they are, in another case, escaped, torn over the events of a stream, or within base64."""

from __future__ import annotations

import re
from binascii import a2b_base64
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec

_CANARY: Final = re.compile(rb"zq[0-9a-f]{16}")
_ESCAPED: Final = re.compile(rb"\\u00([2-7][0-9a-f])")  # a canary has no letter beyond these
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/_-]{24,}")  # of less holds no canary
_NUMBER: Final = re.compile(rb"[0-9a-f-]+")  # ids and hashes: in base64 "zq" is never all digits and a to f


def leaks(payload: bytes, foreign: Mapping[str, str]) -> dict[str, str]:
    """Of the canaries in `foreign` (canary -> what it stands for), those that the payload shows."""
    shown = {word for view in _views(payload) for word in _CANARY.findall(view)}
    return {word: foreign[word] for word in map(bytes.decode, shown) if word in foreign}


def _views(payload: bytes) -> Iterator[bytes]:
    lowered = payload.lower()
    yield lowered
    if b"%" in payload:
        yield unquote_to_bytes(lowered)
    if b"\\u" in payload:
        yield _ESCAPED.sub(lambda found: bytes([int(found.group(1), 16)]), lowered).lower()
    if b"data:" in payload:
        yield from (text.encode("utf-8", "replace").lower() for text in _joined(payload))
    yield from _decoded(payload)


def _decoded(payload: bytes) -> Iterator[bytes]:
    """What stands in base64, of either alphabet, wherever it begins."""
    for run in _BASE64.findall(payload):
        if _NUMBER.fullmatch(run):
            continue
        plain = run.replace(b"-", b"+").replace(b"_", b"/")
        for start in range(4):
            yield a2b_base64(plain[start:] + b"A" * ((start - len(plain)) % 4)).lower()


def _joined(payload: bytes) -> list[str]:
    """The texts of a stream's events, put together place by place: a word torn over two events is whole again."""
    texts: dict[tuple[str, str], list[str]] = {}
    for line in payload.splitlines():
        body = line.removeprefix(b"data:").strip()
        if body[:1] in (b"{", b"["):
            try:
                _gather(msgspec.json.decode(body), ("", ""), texts)
            except ValueError:
                continue
    return ["".join(parts) for parts in texts.values()]


def _gather(value: Any, place: tuple[str, str], texts: dict[tuple[str, str], list[str]]) -> None:
    """`place`: the keys of a text and of what it is in."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, str):
                texts.setdefault((place[1], key), []).append(inner)
            elif isinstance(inner, dict | list):
                _gather(inner, (place[1], key), texts)
    elif isinstance(value, list):
        for inner in value:
            if isinstance(inner, str):
                texts.setdefault(place, []).append(inner)
            else:
                _gather(inner, place, texts)


def shape(value: Any) -> Any:
    """Keys and lengths of a JSON value and of its texts, without what they hold: what is left to tell by, when no word is shown."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in sorted(value.items())}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return len(value) if isinstance(value, str) else type(value).__name__


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
