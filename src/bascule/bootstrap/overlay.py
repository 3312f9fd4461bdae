"""Routes from the catalogue laid over the configuration file. The file wins; what it opens and closes, no route may widen."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

from bascule.bootstrap.calls import BUILT_IN_MODEL
from bascule.core.errors import InvalidRequest
from bascule.core.routes import StoredRoute
from bascule.settings import ModelSettings, Settings

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
# Whose texts are kept, and whether requests may name servers, is the operator's to say in the file.
OPERATORS: Final = ("keep_text", "remote_tools")


def checked_name(name: str) -> str:
    """Raises InvalidRequest."""
    if not NAME.fullmatch(name):
        raise InvalidRequest(
            "A route's name has 1 to 128 letters, digits or _ . : - and begins with a letter or digit.", param="name"
        )
    return name


def checked(file: Settings, given: Mapping[str, Any]) -> ModelSettings:
    """What [models.NAME] would be, by the file's own rules and providers. Raises InvalidRequest naming the field."""
    for name in OPERATORS:
        if name in given:
            raise InvalidRequest(f"{name} is set in the configuration file only.", param=f"settings.{name}")
    try:
        # As the file's TOML is read: no coercion of text to numbers would surprise there, none does here.
        model = ModelSettings.model_validate(dict(given))
    except ValidationError as error:
        raise _worded(error) from None
    for position, target in enumerate(model.targets):
        if target.provider not in file.providers:
            known = ", ".join(sorted(file.providers)) or "none"
            raise InvalidRequest(
                f"There is no provider {target.provider!r} in the configuration file. There are: {known}.",
                param=f"settings.targets[{position}].provider",
            )
    if model.policies is not None:
        _check_policies(file, model.policies)
    return model


def _check_policies(file: Settings, names: Sequence[str]) -> None:
    for name in names:
        if name not in file.policies:
            raise InvalidRequest(f"There is no policy {name!r} in the file.", param="settings.policies")
    for name in file.gateway.policies:
        if name not in names:
            raise InvalidRequest(
                f"The policy {name!r} holds for every model: name it too, or leave `policies` out.",
                param="settings.policies",
            )


def _worded(error: ValidationError) -> InvalidRequest:
    first = error.errors()[0]
    place = "settings"
    for part in first["loc"]:
        place += f"[{part}]" if isinstance(part, int) else f".{part}"
    hint = "There is no such setting." if first["type"] == "extra_forbidden" else f"{first['msg']}."
    return InvalidRequest(f"{place}: {hint}", param=place)


def laid_over(file: Settings, stored: Sequence[StoredRoute]) -> tuple[Settings, dict[str, str]]:
    """The file's settings with every enabled route that can be used, and of the others the reason, by name."""
    models, problems = dict(file.models), {}
    for route in stored:
        if route.name in file.models or route.name == BUILT_IN_MODEL:
            problems[route.name] = "The configuration file has a model of this name, which is used instead."
            continue
        try:
            model = checked(file, route.settings)
        except InvalidRequest as error:
            problems[route.name] = error.message
            continue
        if route.enabled:
            models[route.name] = model
    _drop_without_embedding(file, models, problems)
    return file.model_copy(update={"models": models}), problems


def _drop_without_embedding(file: Settings, models: dict[str, ModelSettings], problems: dict[str, str]) -> None:
    """Also routes that lose theirs by this: until none is left."""
    while True:
        lost = [
            name
            for name, model in models.items()
            if name not in file.models and model.semantic_cache is not None and not _embeds(file, models, model)
        ]
        if not lost:
            return
        for name in lost:
            problems[name] = "The embedding model of its semantic cache is not there."
            del models[name]


def _embeds(file: Settings, models: Mapping[str, ModelSettings], model: ModelSettings) -> bool:
    assert model.semantic_cache is not None
    wanted = model.semantic_cache.embedding_model
    built = (file.models_path / BUILT_IN_MODEL / "model.onnx").is_file()
    return wanted in models or (wanted == BUILT_IN_MODEL and built)
