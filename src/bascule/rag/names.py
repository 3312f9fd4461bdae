"""Names of people and places, by a spaCy model of the operator's choice: an extra whose recall is measured, never promised."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

from bascule.core.errors import ConfigError
from bascule.core.policies import Finding
from bascule.core.recognise import KINDS, find, merged

NAME_KINDS: Final = ("name", "place")
_LABELS: Final = {"PERSON": "name", "PER": "name", "GPE": "place", "LOC": "place", "FAC": "place"}
_UNUSED: Final = ("parser", "tagger", "lemmatizer", "attribute_ruler", "morphologizer", "senter")
_AT_ONCE: Final = 50_000  # characters: a model's memory grows with them

Look = Callable[..., list[Finding]]  # as `find`


def check(model: str) -> None:
    """Raises ConfigError when the model is not there."""
    if importlib.util.find_spec("spacy") is None:
        raise ConfigError("rag.names_model needs the extra `names`: pip install 'bascule[names]'")
    if not Path(model).is_dir() and (not model.isidentifier() or importlib.util.find_spec(model) is None):
        raise ConfigError(f"rag.names_model: {model!r} is neither an installed spaCy model nor the folder of one.")


def with_names(model: str) -> Look:
    """`find`, and names too, where `kinds` has them. Loads the model."""
    import spacy

    nlp = spacy.load(model, exclude=_UNUSED)

    def look(text: str, *, context: str = "", kinds: Collection[str] = KINDS) -> list[Finding]:
        found = find(text, context=context, kinds=kinds)
        if not any(kind in kinds for kind in NAME_KINDS):
            return found
        return merged(found, [finding for finding in _names(nlp, text) if finding.kind in kinds])

    return look


def _names(nlp: Any, text: str) -> list[Finding]:
    return [
        Finding(kind=_LABELS[entity.label_], start=at + entity.start_char, end=at + entity.end_char)
        for at in range(0, len(text), _AT_ONCE)
        for entity in nlp(text[at : at + _AT_ONCE]).ents
        if entity.label_ in _LABELS
    ]
