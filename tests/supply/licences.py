"""Every installed distribution has a licence that is allowed: `python -m tests.supply.licences` (part of `make check`)."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("sbom", HERE.parents[1] / "deploy/sbom.py")
assert _spec is not None and _spec.loader is not None
sbom: Final = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sbom)


def rules() -> dict[str, Any]:
    return tomllib.loads((HERE / "licences.toml").read_text(encoding="utf-8"))


def problems(packages: Iterable[tuple[str, str]], given: Mapping[str, Any]) -> list[str]:
    """A line for each (name, licence) that is not allowed, and for each exception that is no longer needed."""
    found, named = [], set()
    for name, licence in packages:
        excepted = given["excepted"].get(name)
        if excepted is not None:
            named.add(name)
            if excepted["says"] != licence:
                found.append(f"{name}: its licence is {licence!r} now, the exception was for {excepted['says']!r}")
        elif not is_allowed(licence, given):
            found.append(f"{name}: {licence or 'no licence'!r} is not on the list")
    return found + [
        f"{name}: an exception for what is not installed" for name in given["excepted"] if name not in named
    ]


def is_allowed(licence: str, given: Mapping[str, Any]) -> bool:
    """Of `A AND B` both, of `A OR B` one; brackets are read as `AND`, which only refuses more."""
    plain = given["called"].get(licence, licence)
    if plain in given["allowed"]:
        return True
    flat = re.sub(r"(?<!\S)\(|\)(?!\S)", "", plain)
    for word, holds in ((" AND ", all), (" OR ", any)):
        if word in flat:
            return holds(is_allowed(part.strip(), given) for part in flat.split(word))
    return False


def installed() -> list[tuple[str, str]]:
    found = {sbom.normal(each.metadata["Name"]): each.metadata for each in importlib.metadata.distributions()}
    return sorted((name, sbom.licence_of(metadata)) for name, metadata in found.items())


def main() -> int:
    packages = installed()
    found = problems(packages, rules())
    for line in found:
        print(f"licence: {line}", file=sys.stderr)
    print(f"licences: {len(packages)} packages, {len(found)} not allowed")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
