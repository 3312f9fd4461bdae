"""The Lua scripts, one for each thing the store does: the server runs each as one step."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources
from typing import Final

import msgspec

_ALONE: Final = ("begin", "get", "admit", "lease", "renew", "release")
_ENTRIES: Final = ("put", "delete", "purge")
_HOLDS: Final = ("reserve", "settle", "charge")


class Script(msgspec.Struct, frozen=True):
    source: str
    sha: str


@cache
def scripts() -> dict[str, Script]:
    """By name. Each is made of `common.lua`, what its family shares, and its own file."""
    parts: dict[str, tuple[str, ...]] = {name: ("common", name) for name in _ALONE}
    parts |= {name: ("common", "entries", name) for name in _ENTRIES}
    parts |= {name: ("common", "holds", name) for name in _HOLDS}
    return {name: _join(files) for name, files in parts.items()}


def _join(files: tuple[str, ...]) -> Script:
    folder = resources.files(__package__) / "scripts"
    source = "\n".join((folder / f"{name}.lua").read_text(encoding="utf-8") for name in files)
    return Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())
