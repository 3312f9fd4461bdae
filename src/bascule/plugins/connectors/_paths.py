"""Which paths of a tree are documents, by the operator's patterns."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from pydantic import BaseModel, ConfigDict, Field


class PathSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    include: tuple[str, ...] = Field(("*",), description="Take only paths that match one of these; * crosses slashes.")
    exclude: tuple[str, ...] = Field((), description="Leave out paths that match one of these.")
    max_file_bytes: int = Field(50_000_000, gt=0, description="Larger files are skipped, with a reason.")


def is_wanted(path: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    matched = any(fnmatchcase(path, pattern) for pattern in include)
    return matched and not any(fnmatchcase(path, pattern) for pattern in exclude)


def printable(name: str) -> str:
    """Control characters as `\\xNN`, so that a name is one line of text everywhere."""
    if name.isprintable():
        return name
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in name)


def last_part(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2].replace("\\", "_") or "document"
