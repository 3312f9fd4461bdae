"""A rights map: which file of a folder is for whom. `bascule ingest FOLDER --rights rights.toml`

    "policies/*" = { allow = ["public"] }
    "hr/*" = { allow = ["group:hr"] }
    "security/incidents.md" = { allow = ["group:staff"], deny = ["group:interns"] }

Patterns are shell patterns (`*` also crosses folders) on the file's path, relative to the map's own folder. The last that
matches decides. A file that none matches has the rights of --allow, and without one only administrators may read it;
--deny holds for every file, whatever the map says.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from bascule.core.errors import BasculeError, ConfigError
from bascule.core.rights import Rights


class Rule(msgspec.Struct, frozen=True):
    pattern: str
    rights: Rights


class RightsMap(msgspec.Struct, frozen=True, kw_only=True):
    """`path`: the map's own file; its folder is what the patterns are relative to."""

    path: Path
    rules: tuple[Rule, ...]

    @property
    def folder(self) -> Path:
        return self.path.parent

    def of(self, path: Path) -> Rights | None:
        """The rights of a file; None when no pattern matches."""
        try:
            relative = path.resolve().relative_to(self.folder).as_posix()
        except ValueError:
            return None
        return next((rule.rights for rule in reversed(self.rules) if fnmatchcase(relative, rule.pattern)), None)

    def unused(self, paths: Iterable[Path]) -> list[str]:
        """Patterns that match none of the files: most often a typing mistake, so that a file is less open than meant."""
        names = [p.resolve().relative_to(self.folder).as_posix() for p in paths if self._holds(p)]
        return [rule.pattern for rule in self.rules if not any(fnmatchcase(name, rule.pattern) for name in names)]

    def _holds(self, path: Path) -> bool:
        return path.resolve().is_relative_to(self.folder)


def read_rights(path: Path) -> RightsMap:
    """Raises ConfigError naming the line's pattern and what is wrong with it."""
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"The rights map {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"The rights map {path} is not valid TOML: {error}") from None
    return RightsMap(path=path.resolve(), rules=tuple(_rule(path, name, held) for name, held in tree.items()))


def _rule(path: Path, pattern: str, held: object) -> Rule:
    if not isinstance(held, dict) or not set(held) <= {"allow", "deny"}:
        raise ConfigError(f'{path}: {pattern!r} needs a table of `allow` and `deny`, e.g. {{ allow = ["group:hr"] }}.')
    lists = [held.get(name, []) for name in ("allow", "deny")]
    if not all(isinstance(marks, list) and all(isinstance(mark, str) for mark in marks) for marks in lists):
        raise ConfigError(f"{path}: `allow` and `deny` of {pattern!r} are lists of texts.")
    try:
        return Rule(pattern, Rights.of(*lists))
    except BasculeError as error:
        raise ConfigError(f"{path}: {pattern!r}: {error}") from None
