"""The configuration as a file: where it is, what it holds, and what is wrong with it in words."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bascule.core.errors import ConfigError


def default_file(given: dict[str, Any]) -> Path | None:
    data = Path(given.get("data") or os.environ.get("BASCULE_DATA") or "bascule-data")
    named = os.environ.get("BASCULE_CONFIG")
    if named:
        return Path(named)
    path = data / "bascule.toml"
    return path if path.is_file() else None


def read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"No configuration file at {path}. Check --config.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def explain(error: ValidationError, path: Path | None) -> str:
    lines = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"]) or "(whole file)"
        hint = (
            "this key does not exist; see docs/reference/configuration.md"
            if item["type"] == "extra_forbidden"
            else item["msg"]
        )
        lines.append(f"  {key}: {hint}")
    return f"The configuration{f' in {path}' if path else ''} is not valid:\n" + "\n".join(lines)
