"""Finds a plugin by its file name, validates its settings and connects it; resolves references to secrets."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from bascule.core.errors import ConfigError
from bascule.core.resources import Resources
from bascule.core.secret import Secret


def plugin(family: str, kind: str) -> Any:
    """The module `plugins/<family>/<kind>.py`. Raises ConfigError naming the kinds there are."""
    name = f"bascule.plugins.{family}.{kind}"
    package = importlib.import_module(f"bascule.plugins.{family}")
    known = sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))
    if not kind.isidentifier() or kind not in known:
        raise ConfigError(f"There is no {family} plugin of kind {kind!r}. Known kinds: {', '.join(known)}.")
    return importlib.import_module(name)


async def connect_plugin(
    stack: AsyncExitStack, family: str, at: str, given: BaseModel, resources: Resources, **service_wide: Any
) -> Any:
    """Validate the plugin's own settings and connect it. `at` is the configuration path, for the error; `service_wide` are
    values that hold unless the plugin's own section says otherwise, given to plugins that know them."""
    values = given.model_dump()
    kind = values.pop("kind")
    module = plugin(family, kind)
    values = {k: v for k, v in service_wide.items() if k in module.Settings.model_fields} | values
    try:
        settings = module.Settings(**values)
    except ValidationError as error:
        wrong = "; ".join(f"{at}.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"The configuration is not valid: {wrong}") from None
    return await stack.enter_async_context(module.connect(settings, resources))


def secret(reference: str) -> Secret:
    """Resolve "env:NAME" or "file:PATH". Raises ConfigError that names the reference, never a value."""
    scheme, _, rest = reference.partition(":")
    if scheme == "env" and rest:
        value = os.environ.get(rest, "")
        if not value:
            raise ConfigError(f"The environment variable {rest} is not set (asked for by {reference!r}).")
        return Secret(value)
    if scheme == "file" and rest:
        try:
            return Secret(Path(rest).read_text(encoding="utf-8").strip())
        except OSError as error:
            raise ConfigError(f"{reference!r} cannot be read: {error.strerror}.") from None
    raise ConfigError('A secret must be a reference: "env:NAME" or "file:PATH", not the secret itself.')
